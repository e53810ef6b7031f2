"""The node Sample Photo."""

from comfy_api.latest import io

from ..sample_photos import CLIPS, KINDS, PHOTOS, sample_photo
from .inputs import choice, image_output, shown_for


class SamplePhoto(io.ComfyNode):
    """A photo that comes with scikit-image, or a clip made of it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the widgets."""
        schema = io.Schema(
            node_id="HistogramMatchSamplePhoto",
            display_name="Sample Photo",
            category="image",
            description="A photo to try things with, or a clip made of it. It comes with scikit-image; nothing is downloaded.",
            inputs=[
                choice("photo", PHOTOS, "Which photo."),
                choice(
                    "kind",
                    KINDS,
                    "picture: the photo. pan: a clip that moves across it. crossing object: something bright and colored moves "
                    "through it. fade: it comes out of black and gets warm. cut: half-way, another photo takes its place. "
                    "linear light: the photo as in an EXR, with white at 2.",
                ),
                shown_for(
                    io.Int.Input("frames", default=24, min=2, max=1000, tooltip="How many frames the clip has."), kind=CLIPS
                ),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The photo, or the frames of the clip.")],
        )
        # Not an argument above, since ComfyUI before 2026 does not know it.
        schema.search_aliases = ["test image", "example image", "demo image", "example photo", "test clip", "test video"]
        return schema

    @classmethod
    def execute(cls, photo: str, kind: str, frames: int) -> io.NodeOutput:
        """Load or make it."""
        return image_output(cls, sample_photo(photo, kind, frames))
