"""The node Apply Curves."""

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from .inputs import blend_inputs


class ImageCurvesApply(io.ComfyNode):
    """Send each channel of images through a curve that is drawn on the node. It needs ComfyUI of 2026, which draws curves."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the sockets and widgets."""
        curve = "What becomes of {}: levels of the image from left to right, levels of the result from bottom to top."
        return io.Schema(
            node_id="ImageCurvesApply",
            display_name="Apply Curves",
            category="image/filters",
            description=(
                "Changes each channel by a curve that you draw, over the image's histogram. Image Histogram Match can fill the "
                "curves in, to be touched up by hand."
            ),
            search_aliases=["curves", "tone curve", "RGB curves", "color curves", "color grading", "levels"],
            has_intermediate_output=True,
            inputs=[
                io.Image.Input("image", tooltip="The images to change, as many as there are; alpha stays."),
                *(io.Curve.Input(name, tooltip=curve.format(name)) for name in ("red", "green", "blue")),
                *blend_inputs(),
                io.Mask.Input(
                    "change_mask",
                    optional=True,
                    tooltip="Where the images are changed; soft edges blend. One mask for all frames or one for each.",
                ),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The changed images, same size and number.")],
        )

    @classmethod
    def execute(
        cls, image: Tensor, red: Any, green: Any, blue: Any, factor: float, device: str, change_mask: Tensor | None = None
    ) -> io.NodeOutput:
        """Change the images on the chosen device, and show their histogram behind the curves."""
        raise NotImplementedError
