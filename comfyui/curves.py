"""The node Apply Curves."""

from typing import Any

import comfy.model_management
import numpy as np
import torch
from comfy_api.latest import io
from torch import Tensor

from ..color_transform import ColorTransform
from ..kernels.levels import LEVELS
from ..methods.channels import ChannelTables
from ..methods.color_space import ColorSpace
from ..methods.transform import Transform
from ..plots.level_counts import count_sampled
from .inputs import blend_inputs, chosen_device, shown_progress
from .panel import told


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
    def validate_inputs(cls, red: Any = None, green: Any = None, blue: Any = None) -> bool | str:
        """Refuse what is no curve, before anything runs."""
        try:
            for name, curve in (("red", red), ("green", green), ("blue", blue)):
                if curve is not None:
                    _check_curve(name, curve)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(
        cls, image: Tensor, red: Any, green: Any, blue: Any, factor: float, device: str, change_mask: Tensor | None = None
    ) -> io.NodeOutput:
        """Change the images on the chosen device, and show their histogram behind the curves."""
        table = torch.stack([_table(name, curve) for name, curve in (("red", red), ("green", green), ("blue", blue))])
        transform = ColorTransform(Transform(ColorSpace("rgb"), (ChannelTables(table),)))
        progress = shown_progress(len(image))
        changed, notes = transform.apply_batch(image, factor, change_mask, chosen_device(device), progress)
        ui = {"histogram": count_sampled(image), **(told(cls, notes) or {})}
        return io.NodeOutput(changed.to(comfy.model_management.intermediate_device()), ui=ui)


def _table(name: str, given: Any) -> Tensor:
    """A curve as a transfer function ``[LEVELS]``, as ComfyUI draws it, within [0, 1]."""
    # ComfyUI before 2026 does not know it.
    from comfy_api.input import CurveInput

    if not isinstance(given, CurveInput):
        _check_curve(name, given)
    values = CurveInput.from_raw(given).interp_array(np.linspace(0, 1, LEVELS))
    return torch.from_numpy(values).clamp(0, 1)


def _check_curve(name: str, given: Any) -> None:
    """Raise a ValueError for what is not two points or more, as the widget sends them."""
    points = given.get("points") if isinstance(given, dict) else given
    if not isinstance(points, (list, tuple)) or len(points) < 2:
        found = f"{len(points)}" if isinstance(points, (list, tuple)) else type(points).__name__
        raise ValueError(f"{name}: expected a curve through 2 points or more, got {found}")
    for point in points:
        pair = isinstance(point, (list, tuple)) and len(point) == 2
        if not pair or not all(isinstance(number, (int, float)) and 0 <= number <= 1 for number in point):
            raise ValueError(f"{name}: expected points of two numbers from 0 to 1, got {point}")
