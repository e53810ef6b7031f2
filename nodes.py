"""The node for ComfyUI: sockets, device and progress around the function that matches."""

from __future__ import annotations

import logging
import warnings

import comfy.model_management
import comfy.utils
from comfy_api.latest import ComfyAPI, ComfyExtension, io
from torch import Tensor

from .clip_matching import REFERENCE_STATS, SOURCE_STATS, WINDOW
from .matching import match_images


class ImageHistogramMatch(io.ComfyNode):
    """Give each image of a batch the histogram of a reference, channel by channel."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the sockets and widgets."""
        # Not an argument of the inputs, since ComfyUI before 2026 does not know it.
        advanced = {"advanced": True}
        schema = io.Schema(
            node_id="ImageHistogramMatch",
            display_name="Image Histogram Match",
            category="image/filters",
            description=(
                "Gives images the colours of a reference: each channel gets the reference's histogram. "
                "Single pictures, batches and video without flicker, whole or inside of a mask."
            ),
            inputs=[
                io.Image.Input("image", tooltip="The images to change. Every frame of a batch is matched; alpha stays."),
                io.Image.Input(
                    "reference",
                    tooltip=(
                        "The image whose colours are wanted; its size may differ. One reference serves all frames. "
                        "Of a batch, the first goes with the first frame and so on, and the last with all that are left; "
                        "reference_stats can pool them instead."
                    ),
                ),
                io.Combo.Input(
                    "method",
                    options=["pytorch", "skimage"],
                    default="pytorch",
                    tooltip=(
                        "pytorch: fast, on the chosen device. skimage: scikit-image's match_histograms on the CPU, "
                        "slower, to compare with. Both give the same picture."
                    ),
                ),
                io.Float.Input(
                    "factor",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How much of the match is blended in: 0 leaves the image as it is, 1 matches it fully.",
                ),
                io.Combo.Input(
                    "device",
                    options=["auto", "cpu", "gpu"],
                    default="auto",
                    tooltip=(
                        "Where pytorch computes. auto: where ComfyUI keeps images between nodes. "
                        "gpu: ComfyUI's device for models; a frame that does not fit there is done on the CPU."
                    ),
                ),
                io.Mask.Input(
                    "image_mask",
                    optional=True,
                    tooltip=(
                        "Where the images are measured and changed; the rest stays as it is, and soft edges blend. "
                        "One mask for all frames or one for each. Where a mask is black throughout, the frame stays."
                    ),
                ),
                io.Mask.Input(
                    "reference_mask",
                    optional=True,
                    tooltip="Where the reference is measured: a face, the sky. One mask for all references or one for each.",
                ),
                io.Combo.Input(
                    "source_stats",
                    options=list(SOURCE_STATS),
                    default=SOURCE_STATS[0],
                    optional=True,
                    extra_dict=advanced,
                    tooltip=(
                        "What the change is computed from. per_frame: each frame by itself, for pictures. "
                        "uniform: all frames pooled, one change for the whole clip. "
                        "target_frame: one frame decides for all. "
                        "smoothed: the change follows the clip slowly, keeps up with fades and starts anew at a cut."
                    ),
                ),
                io.Int.Input(
                    "target_index",
                    default=0,
                    min=0,
                    max=1_000_000,
                    optional=True,
                    extra_dict=advanced,
                    tooltip="For target_frame: the frame that decides, counted from 0.",
                ),
                io.Int.Input(
                    "window",
                    default=WINDOW,
                    min=1,
                    max=100_000,
                    optional=True,
                    extra_dict=advanced,
                    tooltip="For smoothed: how slowly the change follows the clip, in frames. 72 is three seconds of film.",
                ),
                io.Combo.Input(
                    "reference_stats",
                    options=list(REFERENCE_STATS),
                    default=REFERENCE_STATS[0],
                    optional=True,
                    extra_dict=advanced,
                    tooltip="Of a batch of references. paired: one to a frame. pooled: all make one look for all frames.",
                ),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The matched images, same size and number.")],
        )
        # Not an argument above, since ComfyUI before 2026 does not know it.
        schema.search_aliases = [
            "color match",
            "colour match",
            "match colors",
            "color transfer",
            "color grading",
            "color correction",
            "histogram matching",
            "histogram specification",
        ]
        return schema

    @classmethod
    def execute(
        cls,
        image: Tensor,
        reference: Tensor,
        method: str,
        factor: float,
        device: str,
        image_mask: Tensor | None = None,
        reference_mask: Tensor | None = None,
        source_stats: str = "per_frame",
        target_index: int = 0,
        window: int = WINDOW,
        reference_stats: str = "paired",
    ) -> io.NodeOutput:
        """Match the images on the chosen device; an interrupt ends the run between two frames."""
        if device == "gpu":
            chosen = comfy.model_management.get_torch_device()
        elif device == "auto":
            chosen = comfy.model_management.intermediate_device()
        else:
            chosen = "cpu"
        bar = comfy.utils.ProgressBar(len(image))

        def progress(done: int, total: int) -> None:
            bar.update_absolute(done, total)
            comfy.model_management.throw_exception_if_processing_interrupted()

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = match_images(
                image,
                reference,
                method,
                factor,
                chosen,
                progress,
                source_stats=source_stats,
                target_index=target_index,
                window=window,
                reference_stats=reference_stats,
                image_mask=image_mask,
                reference_mask=reference_mask,
            )
        for warning in caught:
            logging.warning("Image Histogram Match: %s", warning.message)
        return io.NodeOutput(result.to(comfy.model_management.intermediate_device()))


class HistogramMatchExtension(ComfyExtension):
    """The nodes of this pack."""

    async def on_load(self) -> None:
        """Let ComfyUI run workflows made with the predecessor of this node where the predecessor is missing."""
        # ComfyUI before 2026 has no node replacement.
        if not hasattr(io, "NodeReplace"):
            return
        await ComfyAPI().node_replacement.register(
            io.NodeReplace(
                new_node_id="ImageHistogramMatch",
                old_node_id="ImageHistogramMatch+",
                old_widget_ids=["method", "factor", "device"],
                input_mapping=[
                    {"new_id": "image", "old_id": "image"},
                    {"new_id": "reference", "old_id": "reference"},
                    {"new_id": "method", "old_id": "method"},
                    {"new_id": "factor", "old_id": "factor"},
                    {"new_id": "device", "old_id": "device"},
                ],
                output_mapping=[{"new_idx": 0, "old_idx": 0}],
            )
        )

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """The classes that ComfyUI registers."""
        return [ImageHistogramMatch]
