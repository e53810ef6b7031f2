"""What the nodes share: types of sockets, inputs, and how a batch is matched with progress."""

from collections.abc import Callable, Sequence
from typing import Any

import comfy.model_management
import comfy.utils
import torch
from comfy_api.latest import io
from torch import Tensor

from ..clip.histograms import FrameHistograms
from ..clip.settings import MOST_CELLS, RANGES, REFERENCE_STATS, SOURCE_STATS, WINDOW, MatchSettings
from ..matching import match_batch
from ..methods.table import COLOR_SPACES, METHODS, ROTATIONS
from ..reference_histogram import ReferenceHistogram
from .panel import observed_by, told

REFERENCE = io.Custom("REFERENCE_HISTOGRAM")
"""What Reference Histogram puts out."""
TRANSFORM = io.Custom("COLOR_TRANSFORM")
"""What Fit Color Transform and Load LUT put out."""
# ComfyUI before 2026 has no name for it.
HISTOGRAM = io.Custom("HISTOGRAM")
"""What ComfyUI's Image Histogram puts out."""


def advanced(made: Any) -> Any:
    """An optional input that may be folded away. ComfyUI before 2026 takes no such argument for all kinds of inputs."""
    made.optional, made.extra_dict = True, {**(made.extra_dict or {}), "advanced": True}
    return made


def shown_for(made: Any, **widgets: Sequence[str]) -> Any:
    """An input that has a meaning for some values of other widgets only, and is hidden for others."""
    made.extra_dict = {**(made.extra_dict or {}), "shown_for": {name: list(values) for name, values in widgets.items()}}
    return made


def choice(name: str, options: Sequence[str], tooltip: str, **more: Any) -> io.Combo.Input:
    """An input with options, the first of which is the default."""
    return io.Combo.Input(name, options=list(options), default=options[0], tooltip=tooltip, **more)


def reference_input(tooltip: str) -> io.MultiType.Input:
    """A picture, or what Reference Histogram has made of many."""
    return io.MultiType.Input("reference", types=[io.Image, REFERENCE], tooltip=tooltip)


def method_input(names: Sequence[str]) -> io.Combo.Input:
    """How to match, with what each method is for."""
    tooltip = "How colors are matched. pytorch suits most pictures, sliced comes closest; the help page tells them apart."
    return choice("method", names, tooltip)


def color_space_input() -> io.Combo.Input:
    """In which channels the method works."""
    tooltip = (
        "In which channels the method works. rgb: as the pictures are; reinhard takes its own space. "
        "luminance: only the brightness changes, colors stay. "
        "lab, oklab: lightness and two color axes as the eye sees them. ycbcr: as in video."
    )
    return choice("color_space", COLOR_SPACES, tooltip, optional=True)


def blend_inputs() -> list[io.Input]:
    """How much is blended in, and where to compute."""
    factor = "How much of the match is blended in: 0 leaves the image as it is, 1 matches it fully."
    device = (
        "Where to compute. auto: where ComfyUI keeps images between nodes. "
        "gpu: ComfyUI's device for models; a frame that does not fit there is done on the CPU."
    )
    return [
        io.Float.Input("factor", default=1.0, min=0.0, max=1.0, step=0.05, tooltip=factor),
        choice("device", ("auto", "cpu", "gpu"), device),
    ]


def image_mask_input() -> io.Mask.Input:
    """Where images are measured and changed."""
    tooltip = (
        "Where the images are measured and changed; the rest stays as it is, and soft edges blend. "
        "One mask for all frames or one for each. Where a mask is black throughout, the frame stays."
    )
    return io.Mask.Input("image_mask", optional=True, tooltip=tooltip)


def change_mask_input() -> io.Mask.Input:
    """Where images are changed, if that is not where they are measured."""
    tooltip = (
        "Where the images are changed, and image_mask is only where they are measured then: "
        "measure outside of an inpainting and change inside of it. White throughout: everywhere."
    )
    return io.Mask.Input("change_mask", optional=True, tooltip=tooltip)


def clip_inputs() -> list[io.Input]:
    """Whose histogram counts."""
    unpooled = [name for name, method in METHODS.items() if method.per_frame_only]
    stats = (
        "What the change is computed from. per_frame: each frame by itself, for pictures. "
        "uniform: all frames pooled, one change for the whole clip. "
        "target_frame: one frame decides for all. "
        "smoothed: the change follows the clip slowly, keeps up with fades and starts anew at a cut. "
        f"The methods {' and '.join(unpooled)} have per_frame only."
    )
    index = "For target_frame: the frame that decides, counted from 0."
    window = "For smoothed: how slowly the change follows the clip, in frames. 72 is three seconds of film."
    return [
        advanced(choice("source_stats", SOURCE_STATS, stats)),
        shown_for(
            advanced(io.Int.Input("target_index", default=0, min=0, max=1_000_000, tooltip=index)),
            source_stats=["target_frame"],
        ),
        shown_for(
            advanced(io.Int.Input("window", default=WINDOW, min=1, max=100_000, tooltip=window)), source_stats=["smoothed"]
        ),
    ]


def reference_stats_input() -> io.Input:
    """Whether several references are one."""
    pooling = "Of a batch of references. paired: one to a frame. pooled: all are one, for all frames."
    return advanced(choice("reference_stats", REFERENCE_STATS, pooling))


def rotations_input() -> io.Input:
    """How finely colors are matched by the method sliced."""
    rotations = "For sliced: along how many rotated axes colors are matched. More are slower and nearer."
    return shown_for(
        advanced(io.Int.Input("rotations", default=ROTATIONS, min=2, max=1000, tooltip=rotations)), method=["sliced"]
    )


def texture_inputs() -> list[io.Input]:
    """How the change keeps to the texture of images. Saved workflows hold widgets by their position: they come last."""
    return [*detail_inputs(), *cell_inputs(), range_input()]


def detail_inputs() -> list[io.Input]:
    """What becomes of noise and of the gaps between levels."""
    detail = (
        "How much of the images' own texture is kept: at 1, a strong change amplifies neither grain nor JPEG blocks nor bands. "
        "Takes four to ten times as long."
    )
    dither = (
        "Adds noise of half a level to 8-bit images before they are measured, the same at every run, "
        "so that a strong change leaves no bands in skies."
    )
    return [
        advanced(io.Float.Input("detail", default=0.0, min=0.0, max=1.0, step=0.05, tooltip=detail)),
        advanced(io.Boolean.Input("dither", default=False, tooltip=dither)),
    ]


def cell_inputs() -> list[io.Input]:
    """Where the change varies over the picture, and how steep it may be."""
    grid = (
        "Measured in so many cells along each side, and interpolated between their middles, for references that show the same "
        "scene: upscaled tiles, relit shots. 1 is one change for the whole picture."
    )
    clip = (
        "The greatest slope of the change, so that noise is not amplified. 0 is no limit; 2.5 is usual where grid is more "
        "than 1."
    )
    return [
        advanced(io.Int.Input("grid", default=1, min=1, max=MOST_CELLS, tooltip=grid)),
        advanced(io.Float.Input("clip", default=0.0, min=0.0, max=256.0, step=0.1, tooltip=clip)),
    ]


def range_input() -> io.Input:
    """What values levels span."""
    tooltip = (
        "What values there are. 0 to 1: pictures. data: all that images and references hold, with nothing clamped, "
        "as linear light, float EXR or HDR."
    )
    return advanced(choice("range", RANGES, tooltip, optional=True))


def refusal(**chosen: Any) -> bool | str:
    """What ComfyUI is told before anything runs: why settings do not go together, or True. None comes from another node."""
    try:
        MatchSettings(**{name: value for name, value in chosen.items() if value is not None})
    except ValueError as error:
        return str(error)
    return True


def match_with_progress(
    node: type[io.ComfyNode],
    image: Tensor,
    reference: Tensor | ReferenceHistogram | None,
    settings: MatchSettings,
    device: str,
    **masks: Any,
) -> io.NodeOutput:
    """Match a batch on the chosen device, and show the progress, what there is to tell, and histograms on an unfolded panel.

    An interrupt ends the run between two frames.
    """
    observed = observed_by(node)
    observe = None if observed is None else observed.append
    progress = shown_progress(len(image))
    matched, notes = match_batch(image, reference, settings, chosen_device(device), progress, observe=observe, **masks)
    return image_output(node, matched, notes, observed)


def shown_progress(frames: int) -> Callable[[int, int], None]:
    """What shows the progress of a run over some frames, and ends it where the user has interrupted it."""
    bar = comfy.utils.ProgressBar(frames)

    def progress(done: int, total: int) -> None:
        bar.update_absolute(done, total)
        comfy.model_management.throw_exception_if_processing_interrupted()

    return progress


def image_output(
    node: type[io.ComfyNode], images: Tensor, notes: Sequence[str] = (), observed: Sequence[FrameHistograms] | None = None
) -> io.NodeOutput:
    """Images where ComfyUI keeps them, and what the page is told."""
    return io.NodeOutput(images.to(comfy.model_management.intermediate_device()), ui=told(node, notes, observed))


def chosen_device(name: str) -> torch.device | str:
    """Where to compute, of what the input ``device`` offers."""
    if name == "gpu":
        device: torch.device = comfy.model_management.get_torch_device()
        return device
    return comfy.model_management.intermediate_device() if name == "auto" else "cpu"
