"""What a node tells its panel on the page, if that is unfolded, and its notes."""

import logging
from collections.abc import Sequence
from typing import Any

from comfy_api.latest import io

from ..clip.histograms import FrameHistograms
from ..plots.panel_message import panel_message


def has_panel(schema: io.Schema) -> io.Schema:
    """The schema of a node with a panel: it asks ComfyUI where it stands in which workflow."""
    schema.hidden = [io.Hidden.unique_id, io.Hidden.extra_pnginfo]
    # ComfyUI before 2026 does not know it.
    schema.has_intermediate_output = True
    return schema


def observed_by(node: type[io.ComfyNode]) -> list[FrameHistograms] | None:
    """A list for what is to be shown of each frame, if the panel of the node that is run is unfolded; else None.

    The workflow that came with the prompt tells; where none did, there is no page to show anything.
    """
    information = node.hidden.extra_pnginfo
    workflow = information.get("workflow") if isinstance(information, dict) else None
    found = _find(workflow, str(node.hidden.unique_id).split(":")) if isinstance(workflow, dict) else None
    return [] if found and (found.get("properties") or {}).get("histograms") else None


def told(
    node: type[io.ComfyNode], notes: Sequence[str], observed: Sequence[FrameHistograms] | None = None
) -> dict[str, Any] | None:
    """What the page shows of a run on the node, after its notes have been logged; None for nothing."""
    for note in notes:
        logging.warning("%s: %s", node.SCHEMA.display_name, note)
    shown: dict[str, Any] = {}
    if observed:
        shown["histogram_match"] = [panel_message(observed)]
    if notes:
        shown["histogram_match_notes"] = list(notes)
    return shown or None


def _find(graph: dict[str, Any], path: Sequence[str]) -> dict[str, Any] | None:
    """The node of a workflow that is run under the numbers ``path``: those of the subgraphs around it, then its own."""
    subgraphs = {one.get("id"): one for one in (graph.get("definitions") or {}).get("subgraphs") or []}
    around: dict[str, Any] | None = graph
    found = None
    for number in path:
        nodes = (around or {}).get("nodes") or []
        found = next((node for node in nodes if str(node.get("id")) == number), None)
        around = subgraphs.get(found.get("type")) if found else None
    return found
