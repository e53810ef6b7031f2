"""The node Histogram Plot."""

from comfy_api.latest import io
from torch import Tensor

from ..plots.histogram_plot import CHANNELS, SCALES, plot_histograms
from .inputs import choice, image_output


class ImageHistogramPlot(io.ComfyNode):
    """Draw the histograms of up to three images into a picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the sockets and widgets."""
        size = {"min": 128, "max": 4096, "step": 8}
        schema = io.Schema(
            node_id="ImageHistogramPlot",
            display_name="Histogram Plot",
            category="image/filters",
            description="Draws the histograms of one to three images into a picture, to save, to compare, or for a report.",
            inputs=[
                io.Image.Input("image", tooltip="The first image, drawn as an area. All frames of a batch count together."),
                io.Image.Input("image_2", optional=True, tooltip="A second one, drawn as a line over the first."),
                io.Image.Input("image_3", optional=True, tooltip="A third one, drawn as another line."),
                choice(
                    "channels", CHANNELS, "rgb: red, green and blue. luminance: brightness. all: all four, one below the other."
                ),
                choice("scale", SCALES, "linear: twice the pixels, twice the height. log: rare levels can be seen as well."),
                io.Int.Input("width", default=768, tooltip="Width of the picture in pixels.", **size),
                io.Int.Input("height", default=512, tooltip="Height of the picture in pixels.", **size),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The plot.")],
        )
        # Not an argument above, since ComfyUI before 2026 does not know it.
        schema.search_aliases = ["histogram", "plot histogram", "draw histogram", "compare histograms", "show histogram"]
        return schema

    @classmethod
    def execute(
        cls,
        image: Tensor,
        channels: str,
        scale: str,
        width: int,
        height: int,
        image_2: Tensor | None = None,
        image_3: Tensor | None = None,
    ) -> io.NodeOutput:
        """Measure and draw."""
        images = {"image": image, "image_2": image_2, "image_3": image_3}
        given = {name: one for name, one in images.items() if one is not None}
        return image_output(cls, plot_histograms(given, channels, scale, width, height))
