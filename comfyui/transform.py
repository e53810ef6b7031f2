"""The nodes Fit Color Transform and Apply Color Transform."""

from comfy_api.latest import io
from torch import Tensor

from ..clip.settings import RANGES
from ..color_transform import ColorTransform, fit_batch, fit_settings
from ..methods.table import COLOR_SPACES, METHODS
from ..reference_histogram import ReferenceHistogram
from .inputs import (
    TRANSFORM,
    advanced,
    blend_inputs,
    chosen_device,
    color_space_input,
    image_output,
    method_input,
    reference_input,
    refusal,
    shown_progress,
    texture_inputs,
)
from .panel import has_panel, observed_by, told

_ALL_FRAMES = -1


class FitColorTransform(io.ComfyNode):
    """Find the change of colors between two batches, to apply it elsewhere."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the sockets and widgets."""
        schema = io.Schema(
            node_id="ColorTransformFit",
            display_name="Fit Color Transform",
            category="image/filters",
            description=(
                "Finds the change of colors that makes an image like a reference, for Apply Color Transform and Save LUT: "
                "fit it where two pictures or clips show the same, and apply it to all the rest."
            ),
            inputs=[
                io.Image.Input("image", tooltip="The images to fit to: of a batch, all frames count together."),
                reference_input(
                    "The image whose colors are wanted, in any size, or what Reference Histogram has made of many. "
                    "Of a batch, all count together."
                ),
                method_input([name for name, method in METHODS.items() if not method.per_frame_only]),
                color_space_input(),
                io.Mask.Input(
                    "image_mask",
                    optional=True,
                    tooltip="Where the images are measured: outside of an inpainting. One mask for all frames or one for each.",
                ),
                io.Mask.Input(
                    "reference_mask",
                    optional=True,
                    tooltip="Where the reference is measured. One mask for all references or one for each.",
                ),
                advanced(
                    io.Int.Input(
                        "target_index",
                        default=_ALL_FRAMES,
                        min=_ALL_FRAMES,
                        max=1_000_000,
                        tooltip="The frame of the images that counts alone, from 0. -1: all frames count together.",
                    )
                ),
                *texture_inputs(),
            ],
            outputs=[TRANSFORM.Output(display_name="transform", tooltip="Goes into Apply Color Transform and Save LUT.")],
        )
        # Not an argument above, since ComfyUI before 2026 does not know it.
        schema.search_aliases = ["fit color", "color correction", "fix inpainting color", "fix color drift", "color match"]
        return has_panel(schema)

    @classmethod
    def validate_inputs(cls, method: str | None = None, grid: int | None = None, clip: float | None = None) -> bool | str:
        """Refuse what no method can do, before anything runs."""
        return refusal(method=method, grid=grid, clip=clip)

    @classmethod
    def execute(
        cls,
        image: Tensor,
        reference: Tensor | ReferenceHistogram,
        method: str,
        color_space: str = COLOR_SPACES[0],
        image_mask: Tensor | None = None,
        reference_mask: Tensor | None = None,
        target_index: int = _ALL_FRAMES,
        detail: float = 0.0,
        dither: bool = False,
        grid: int = 1,
        clip: float = 0.0,
        range: str = RANGES[0],
    ) -> io.NodeOutput:
        """Fit to the images where ComfyUI keeps them."""
        chosen = None if target_index == _ALL_FRAMES else target_index
        settings = fit_settings(method, color_space, chosen, detail=detail, dither=dither, grid=grid, clip=clip, range=range)
        masks = image_mask, reference_mask
        progress = shown_progress(len(image))
        observed = observed_by(cls)
        observe = None if observed is None else observed.append
        transform, notes = fit_batch(image, reference, settings, *masks, None, progress, observe)
        return io.NodeOutput(transform, ui=told(cls, notes, observed))


class ApplyColorTransform(io.ComfyNode):
    """Send a batch through a transform that was fitted elsewhere, or through a LUT."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the sockets and widgets."""
        schema = io.Schema(
            node_id="ColorTransformApply",
            display_name="Apply Color Transform",
            category="image/filters",
            description="Changes the colors of images as Fit Color Transform has found, or as a LUT says.",
            inputs=[
                io.Image.Input("image", tooltip="The images to change, as many as there are; alpha stays."),
                TRANSFORM.Input("transform", tooltip="What Fit Color Transform or Load LUT puts out."),
                *blend_inputs(),
                io.Mask.Input(
                    "change_mask",
                    optional=True,
                    tooltip="Where the images are changed; soft edges blend. One mask for all frames or one for each.",
                ),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The changed images, same size and number.")],
        )
        schema.search_aliases = ["apply color", "apply LUT", "cube", "color grading", "color correction", "3D LUT"]
        return schema

    @classmethod
    def execute(
        cls, image: Tensor, transform: ColorTransform, factor: float, device: str, change_mask: Tensor | None = None
    ) -> io.NodeOutput:
        """Change the images on the chosen device, one frame after the other."""
        progress = shown_progress(len(image))
        changed, notes = transform.apply_batch(image, factor, change_mask, chosen_device(device), progress)
        return image_output(cls, changed, notes)
