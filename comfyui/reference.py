"""The node Reference Histogram, and the folders in which references are kept."""

import logging
from typing import Any

import comfy.model_management
import comfy.utils
from comfy_api.latest import io
from torch import Tensor

from ..clip.settings import RANGES
from ..plots.panel_message import reference_message
from ..reference_histogram import SUFFIX, ReferenceHistogram
from .inputs import REFERENCE, choice, range_input
from .kept_files import changed_at, file_name, find_file, find_file_or_raise, kept_files, output_folder
from .panel import has_panel, observed_by, told

_FOLDER = "histograms"
_NO_FILE = "none"


class ReferenceHistogramNode(io.ComfyNode):
    """Pool any number of images into one reference, keep it in a file, and take it from there again."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the sockets and widgets."""
        schema = io.Schema(
            node_id="ReferenceHistogram",
            display_name="Reference Histogram",
            category="image/filters",
            description=(
                "Makes one reference for Image Histogram Match of any number of images, and keeps it in a file. "
                "All that is given counts together: images, another reference, a file."
            ),
            is_input_list=True,
            is_output_node=True,
            inputs=[
                io.Image.Input("images", optional=True, tooltip="A batch, or a list of images of any sizes."),
                io.Mask.Input(
                    "mask", optional=True, tooltip="Where the images are measured: for a list of images, one for each."
                ),
                REFERENCE.Input("reference", optional=True, tooltip="Another reference, to add to."),
                choice(
                    "load",
                    [_NO_FILE, *kept_files(_FOLDER, (SUFFIX,))],
                    "A file to take, from the folder histograms in ComfyUI's output folder or among its models.",
                    optional=True,
                ),
                io.String.Input(
                    "save_as",
                    default="",
                    optional=True,
                    tooltip=(
                        "A name to keep the result under, in the folder histograms in ComfyUI's output folder. "
                        "A file of that name is replaced. Empty: it is not kept."
                    ),
                ),
                range_input(),
            ],
            outputs=[REFERENCE.Output(display_name="reference", tooltip="Goes where a reference image would go.")],
        )
        schema.search_aliases = ["style set", "reference set", "average histogram", "save histogram", "load histogram"]
        return has_panel(schema)

    @classmethod
    def fingerprint_inputs(cls, load: Any = None, **_: Any) -> float:
        """When the file was last changed, so that it is read again then."""
        name = load[0] if isinstance(load, list) else load
        return changed_at(find_file(_FOLDER, name, (SUFFIX,)))

    @classmethod
    def execute(
        cls,
        images: list[Tensor] | None = None,
        mask: list[Tensor] | None = None,
        reference: list[ReferenceHistogram] | None = None,
        load: list[str] | None = None,
        save_as: list[str] | None = None,
        range: list[str] | None = None,
    ) -> io.NodeOutput:
        """Pool what is given, and keep it if a name is.

        Raises:
            ValueError: ``save_as`` or ``load`` is not the name of a file, or nothing of the images counts.
        """
        name = (save_as or [""])[0].strip()
        name = name and file_name("save_as", name, SUFFIX)
        parts = list(reference or [])
        if load and load[0] != _NO_FILE:
            parts.append(ReferenceHistogram.load(find_file_or_raise("load", _FOLDER, load[0], (SUFFIX,))))
        bar = comfy.utils.ProgressBar(sum(map(len, images or [])) or 1)

        def progress(_done: int, _total: int) -> None:
            bar.update(1)
            comfy.model_management.throw_exception_if_processing_interrupted()

        for index, batch in enumerate(images or []):
            chosen = mask[min(index, len(mask) - 1)] if mask else None
            parts.append(ReferenceHistogram.of(batch, chosen, progress, range=(range or RANGES)[0]))
        if not parts:
            # Not an error: as an output node it runs in every workflow that it is in, connected or not.
            return io.NodeOutput(None, ui=told(cls, ["no images, reference or file to load, so there is no reference"]))
        pooled = sum(parts[1:], parts[0])
        shown: dict[str, Any] = {}
        path = output_folder(_FOLDER) / (name + SUFFIX) if name else None
        if path is not None:
            pooled.save(path)
            logging.info("Reference Histogram: kept in %s", path)
            shown["text"] = [f"kept in {path}"]
        if observed_by(cls) is not None:
            message = reference_message(pooled.shown())
            shown["histogram_match"] = [message | {"pictures": pooled.pictures, "path": str(path or "")}]
        return io.NodeOutput(pooled, ui=shown or None)
