"""The nodes for ComfyUI: Image Histogram Match, and the list of all."""

from typing import Any

from comfy_api.latest import ComfyAPI, ComfyExtension, io
from torch import Tensor

from .clip.settings import MatchSettings
from .comfyui.curves import ImageCurvesApply
from .comfyui.histogram_plot import ImageHistogramPlot
from .comfyui.inputs import (
    blend_inputs,
    change_mask_input,
    clip_inputs,
    color_space_input,
    image_mask_input,
    match_with_progress,
    method_input,
    reference_input,
    reference_stats_input,
    refusal,
    rotations_input,
    texture_inputs,
)
from .comfyui.lut import LoadLUT, SaveLUT
from .comfyui.panel import has_panel
from .comfyui.reference import ReferenceHistogramNode
from .comfyui.sample_photo import SamplePhoto
from .comfyui.specify import ImageHistogramSpecify
from .comfyui.transform import ApplyColorTransform, FitColorTransform
from .comfyui.video import VideoHistogramMatch
from .methods.table import METHODS
from .reference_histogram import ReferenceHistogram


class ImageHistogramMatch(io.ComfyNode):
    """Give each image of a batch the colors of a reference."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the sockets and widgets."""
        schema = io.Schema(
            node_id="ImageHistogramMatch",
            display_name="Image Histogram Match",
            category="image/filters",
            description=(
                "Gives images the colors of a reference: each channel its histogram, or the colors as a whole. "
                "Single pictures, batches and video without flicker, whole or inside of a mask."
            ),
            inputs=[
                io.Image.Input("image", tooltip="The images to change. Every frame of a batch is matched; alpha stays."),
                reference_input(
                    "The image whose colors are wanted, in any size, or what Reference Histogram has made of many. "
                    "One reference serves all frames. "
                    "Of a batch, the first goes with the first frame and so on, and the last with all that are left; "
                    "reference_stats can pool them instead."
                ),
                method_input(list(METHODS)),
                *blend_inputs(),
                image_mask_input(),
                io.Mask.Input(
                    "reference_mask",
                    optional=True,
                    tooltip="Where the reference is measured: a face, the sky. One mask for all references or one for each.",
                ),
                *clip_inputs(),
                reference_stats_input(),
                # Saved workflows hold the values of widgets by their position, so that new ones come last.
                color_space_input(),
                rotations_input(),
                change_mask_input(),
                *texture_inputs(),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The matched images, same size and number.")],
        )
        # Not arguments above, since ComfyUI before 2026 does not know them.
        has_panel(schema)
        schema.essentials_category = "Image Tools"
        schema.search_aliases = [
            "color match",
            "colour match",
            "match colors",
            "color transfer",
            "color grading",
            "color correction",
            "histogram matching",
            "reinhard",
            "mkl",
            "optimal transport",
        ]
        return schema

    @classmethod
    def validate_inputs(
        cls,
        method: str | None = None,
        source_stats: str | None = None,
        reference_stats: str | None = None,
        grid: int | None = None,
        clip: float | None = None,
    ) -> bool | str:
        """Refuse what no method can do, before anything runs."""
        return refusal(method=method, source_stats=source_stats, reference_stats=reference_stats, grid=grid, clip=clip)

    @classmethod
    def execute(
        cls,
        image: Tensor,
        reference: Tensor | ReferenceHistogram,
        device: str,
        image_mask: Tensor | None = None,
        reference_mask: Tensor | None = None,
        change_mask: Tensor | None = None,
        **settings: Any,
    ) -> io.NodeOutput:
        """Match the images on the chosen device; the other inputs are those of :class:`MatchSettings`."""
        masks = {"image_mask": image_mask, "reference_mask": reference_mask, "change_mask": change_mask}
        return match_with_progress(cls, image, reference, MatchSettings(**settings), device, **masks)


class HistogramMatchExtension(ComfyExtension):
    """The nodes of this pack."""

    async def on_load(self) -> None:
        """Let ComfyUI run workflows made with the predecessor of this node where the predecessor is missing."""
        # ComfyUI before 2026 has no node replacement.
        if not hasattr(io, "NodeReplace"):
            return
        widgets = ["method", "factor", "device"]
        await ComfyAPI().node_replacement.register(
            io.NodeReplace(
                new_node_id="ImageHistogramMatch",
                old_node_id="ImageHistogramMatch+",
                old_widget_ids=widgets,
                input_mapping=[{"new_id": name, "old_id": name} for name in ("image", "reference", *widgets)],
                output_mapping=[{"new_idx": 0, "old_idx": 0}],
            )
        )

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """The classes that ComfyUI registers."""
        nodes: list[type[io.ComfyNode]] = [
            ImageHistogramMatch,
            VideoHistogramMatch,
            ImageHistogramSpecify,
            ReferenceHistogramNode,
            FitColorTransform,
            ApplyColorTransform,
            SaveLUT,
            LoadLUT,
            ImageHistogramPlot,
            SamplePhoto,
        ]
        # ComfyUI before 2026 draws no curves.
        return [*nodes, ImageCurvesApply] if hasattr(io, "Curve") else nodes
