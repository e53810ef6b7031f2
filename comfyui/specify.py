"""The node Image Histogram Specify."""

from collections.abc import Callable, Sequence
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..clip.settings import MatchSettings
from ..methods.table import COLOR_SPACES
from ..methods.targets import LinearStretch, Normal, Specified, Uniform
from .inputs import (
    HISTOGRAM,
    blend_inputs,
    change_mask_input,
    choice,
    clip_inputs,
    image_mask_input,
    match_with_progress,
    refusal,
    shown_for,
    texture_inputs,
)
from .panel import has_panel

_TARGETS = ("uniform", "normal", "linear stretch", "histogram")
_CHANNELS = ("histogram_red", "histogram_green", "histogram_blue")
_SOCKETS = ("histogram", *_CHANNELS)
# Before a run, ComfyUI hands over None for what is connected, and nothing for what is not.
_UNPLUGGED = object()


class ImageHistogramSpecify(io.ComfyNode):
    """Give each image of a batch a histogram that is specified without a picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the sockets and widgets."""
        percent = "how many percent of the pixels may become "
        deviation = "the standard deviation, before what lies beyond black and white is cut off."
        schema = io.Schema(
            node_id="ImageHistogramSpecify",
            display_name="Image Histogram Specify",
            category="image/filters",
            description=(
                "Gives images a histogram without a reference picture: equalized, normal, stretched to the full range, "
                "or one from Image Histogram."
            ),
            inputs=[
                io.Image.Input("image", tooltip="The images to change. Every frame of a batch is changed; alpha stays."),
                choice(
                    "target",
                    _TARGETS,
                    "uniform: all levels equally often, known as equalization. normal: around a mean, as many darker as "
                    "brighter. linear stretch: the darkest pixels become black, the brightest white, as auto levels does. "
                    "histogram: those connected below.",
                ),
                *blend_inputs(),
                _histogram("histogram", "the one for all channels, as Image Histogram gives it."),
                *(_histogram(name, f"in place of that, for {name.split('_')[1]}.") for name in _CHANNELS),
                image_mask_input(),
                choice(
                    "color_space",
                    COLOR_SPACES,
                    "rgb: each channel gets the histogram. Others: their lightness alone does, and colors stay.",
                    optional=True,
                ),
                _number("mean", Normal.mean, 1.0, 0.01, "normal", "the level around which levels lie, 0 black to 1 white."),
                _number("deviation", Normal.deviation, 10.0, 0.01, "normal", deviation),
                _number("clip_low", LinearStretch.low, 99.0, 0.1, "linear stretch", percent + "black."),
                _number("clip_high", LinearStretch.high, 99.0, 0.1, "linear stretch", percent + "white."),
                *clip_inputs(),
                change_mask_input(),
                *texture_inputs(),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The changed images, same size and number.")],
        )
        schema.search_aliases = [
            "histogram equalization",
            "equalize",
            "auto levels",
            "auto contrast",
            "normalize",
            "histogram specification",
        ]
        return has_panel(schema)

    @classmethod
    def validate_inputs(
        cls,
        target: str | None,
        color_space: str | None = COLOR_SPACES[0],
        clip: float | None = None,
        histogram: Any = _UNPLUGGED,
        histogram_red: Any = _UNPLUGGED,
        histogram_green: Any = _UNPLUGGED,
        histogram_blue: Any = _UNPLUGGED,
    ) -> bool | str:
        """Refuse histograms that are connected but do not go with the target, before anything runs."""
        sockets = dict(zip(_SOCKETS, (histogram, histogram_red, histogram_green, histogram_blue), strict=True))
        connected = [name for name, value in sockets.items() if value is not _UNPLUGGED]
        if target not in (None, *_TARGETS):
            return f"target: expected one of {', '.join(_TARGETS)}, got {target}"
        if target is not None and (connected or target == "histogram"):
            try:
                _check_histograms(target, connected)
            except ValueError as error:
                return str(error)
        if len(connected) == len(_CHANNELS) and color_space not in (None, "rgb"):
            return (
                f"color_space: expected rgb with three histograms, since others change the lightness alone, got {color_space}"
            )
        return refusal(color_space=color_space, clip=clip)

    @classmethod
    def execute(
        cls,
        image: Tensor,
        target: str,
        device: str,
        image_mask: Tensor | None = None,
        change_mask: Tensor | None = None,
        mean: float = Normal.mean,
        deviation: float = Normal.deviation,
        clip_low: float = LinearStretch.low,
        clip_high: float = LinearStretch.high,
        **others: Any,
    ) -> io.NodeOutput:
        """Change the images on the chosen device.

        Raises:
            ValueError: the histograms that are connected do not go with the target.
        """
        connected = {name: others.pop(name, None) for name in _SOCKETS}
        histograms = {name: counts for name, counts in connected.items() if counts is not None}
        _check_histograms(target, list(histograms))
        chosen: Callable[[Tensor], Tensor]
        if target == "histogram":
            rows = [histograms[name] for name in _SOCKETS if name in histograms]
            chosen = Specified(rows if len(rows) > 1 else rows[0])
        elif target == "normal":
            chosen = Normal(mean, deviation)
        else:
            chosen = Uniform() if target == "uniform" else LinearStretch(clip_low, clip_high)
        settings = MatchSettings(target=chosen, **others)
        masks = {"image_mask": image_mask, "change_mask": change_mask}
        return match_with_progress(cls, image, None, settings, device, **masks)


def _check_histograms(target: str, connected: Sequence[str]) -> None:
    """Raise a ValueError if the histograms that are connected do not go with the target."""
    if target != "histogram":
        if connected:
            raise ValueError(f"target: expected histogram, since one is connected, got {target}")
        return
    if list(connected) not in (["histogram"], list(_CHANNELS)):
        channels = len([name for name in connected if name != "histogram"])
        raise ValueError(
            "histogram: expected one for all channels, or histogram_red, histogram_green and histogram_blue, "
            f"got {channels} of these and {'one' if 'histogram' in connected else 'none'} for all"
        )


def _histogram(name: str, use: str) -> Any:
    return shown_for(HISTOGRAM.Input(name, optional=True, tooltip=f"For histogram: {use}"), target=["histogram"])


def _number(name: str, default: float, most: float, step: float, target: str, use: str) -> Any:
    least = 0.001 if name == "deviation" else 0.0
    made = io.Float.Input(name, default=default, min=least, max=most, step=step, optional=True, tooltip=f"For {target}: {use}")
    return shown_for(made, target=[target])
