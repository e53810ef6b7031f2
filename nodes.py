"""The nodes for ComfyUI: sockets, device, files and progress around the functions that match."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.utils
import folder_paths
import torch
from comfy_api.latest import ComfyAPI, ComfyExtension, io
from torch import Tensor

from .clip_matching import REFERENCE_STATS, SOURCE_STATS, WINDOW
from .color_space import COLOR_SPACES
from .matching import match_images, specify_images
from .methods import METHODS, ROTATIONS
from .reference_histogram import SUFFIX, ReferenceHistogram
from .specification import LinearStretch, Normal, Specified, Uniform

# Kept references are models of a kind: they are written to the output folder and also looked for among the models.
_FOLDER = "histograms"
for _root in (folder_paths.get_output_directory(), folder_paths.models_dir):
    folder_paths.add_model_folder_path(_FOLDER, os.path.join(_root, _FOLDER))

_REFERENCE = io.Custom("REFERENCE_HISTOGRAM")
# ComfyUI before 2026 has no name for it.
_HISTOGRAM = io.Custom("HISTOGRAM")
# Not an argument of the inputs, since ComfyUI before 2026 does not know it.
_ADVANCED = {"advanced": True}
_NO_FILE = "none"


def _device_input() -> io.Combo.Input:
    return io.Combo.Input(
        "device",
        options=["auto", "cpu", "gpu"],
        default="auto",
        tooltip=(
            "Where to compute. auto: where ComfyUI keeps images between nodes. "
            "gpu: ComfyUI's device for models; a frame that does not fit there is done on the CPU."
        ),
    )


def _factor_input() -> io.Float.Input:
    return io.Float.Input(
        "factor",
        default=1.0,
        min=0.0,
        max=1.0,
        step=0.05,
        tooltip="How much of the match is blended in: 0 leaves the image as it is, 1 matches it fully.",
    )


def _image_mask_input() -> io.Mask.Input:
    return io.Mask.Input(
        "image_mask",
        optional=True,
        tooltip=(
            "Where the images are measured and changed; the rest stays as it is, and soft edges blend. "
            "One mask for all frames or one for each. Where a mask is black throughout, the frame stays."
        ),
    )


def _clip_inputs() -> list[io.Input]:
    unpooled = [name for name, method in METHODS.items() if method.per_frame_only]
    return [
        io.Combo.Input(
            "source_stats",
            options=list(SOURCE_STATS),
            default=SOURCE_STATS[0],
            optional=True,
            extra_dict=_ADVANCED,
            tooltip=(
                "What the change is computed from. per_frame: each frame by itself, for pictures. "
                "uniform: all frames pooled, one change for the whole clip. "
                "target_frame: one frame decides for all. "
                "smoothed: the change follows the clip slowly, keeps up with fades and starts anew at a cut. "
                f"The methods {' and '.join(unpooled)} have per_frame only."
            ),
        ),
        io.Int.Input(
            "target_index",
            default=0,
            min=0,
            max=1_000_000,
            optional=True,
            extra_dict=_ADVANCED,
            tooltip="For target_frame: the frame that decides, counted from 0.",
        ),
        io.Int.Input(
            "window",
            default=WINDOW,
            min=1,
            max=100_000,
            optional=True,
            extra_dict=_ADVANCED,
            tooltip="For smoothed: how slowly the change follows the clip, in frames. 72 is three seconds of film.",
        ),
    ]


def _chosen_device(name: str) -> torch.device | str:
    if name == "gpu":
        device: torch.device = comfy.model_management.get_torch_device()
        return device
    return comfy.model_management.intermediate_device() if name == "auto" else "cpu"


def _run(title: str, frames: int, match: Callable[[Callable[[int, int], None]], Tensor]) -> io.NodeOutput:
    """Call ``match`` with a function for its progress, and bring the result and its warnings to where ComfyUI wants them.

    An interrupt ends the run between two frames.
    """
    bar = comfy.utils.ProgressBar(frames)

    def progress(done: int, total: int) -> None:
        bar.update_absolute(done, total)
        comfy.model_management.throw_exception_if_processing_interrupted()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = match(progress)
    for warning in caught:
        logging.warning("%s: %s", title, warning.message)
    return io.NodeOutput(result.to(comfy.model_management.intermediate_device()))


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
                "Gives images the colours of a reference: each channel its histogram, or the colours as a whole. "
                "Single pictures, batches and video without flicker, whole or inside of a mask."
            ),
            inputs=[
                io.Image.Input("image", tooltip="The images to change. Every frame of a batch is matched; alpha stays."),
                io.MultiType.Input(
                    "reference",
                    types=[io.Image, _REFERENCE],
                    tooltip=(
                        "The image whose colours are wanted, in any size, or what Reference Histogram has made of many. "
                        "One reference serves all frames. "
                        "Of a batch, the first goes with the first frame and so on, and the last with all that are left; "
                        "reference_stats can pool them instead."
                    ),
                ),
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    default=next(iter(METHODS)),
                    tooltip="\n".join(f"{name}: {method.use}" for name, method in METHODS.items()),
                ),
                _factor_input(),
                _device_input(),
                _image_mask_input(),
                io.Mask.Input(
                    "reference_mask",
                    optional=True,
                    tooltip="Where the reference is measured: a face, the sky. One mask for all references or one for each.",
                ),
                *_clip_inputs(),
                io.Combo.Input(
                    "reference_stats",
                    options=list(REFERENCE_STATS),
                    default=REFERENCE_STATS[0],
                    optional=True,
                    extra_dict=_ADVANCED,
                    tooltip="Of a batch of references. paired: one to a frame. pooled: all make one look for all frames.",
                ),
                # Saved workflows hold the values of widgets by their position, so that new ones come last.
                io.Combo.Input(
                    "color_space",
                    options=list(COLOR_SPACES),
                    default=COLOR_SPACES[0],
                    optional=True,
                    tooltip=(
                        "In which channels the method works. rgb: as the pictures are; reinhard takes its own space. "
                        "luminance: only the brightness changes, colours stay. "
                        "lab, oklab: lightness and two colour axes as the eye sees them. ycbcr: as in video."
                    ),
                ),
                io.Int.Input(
                    "rotations",
                    default=ROTATIONS,
                    min=2,
                    max=1000,
                    optional=True,
                    extra_dict=_ADVANCED,
                    tooltip="For sliced: along how many rotated axes colours are matched. More are slower and nearer.",
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
            "reinhard",
            "mkl",
            "optimal transport",
        ]
        return schema

    @classmethod
    def execute(
        cls,
        image: Tensor,
        reference: Tensor | ReferenceHistogram,
        method: str,
        factor: float,
        device: str,
        image_mask: Tensor | None = None,
        reference_mask: Tensor | None = None,
        source_stats: str = "per_frame",
        target_index: int = 0,
        window: int = WINDOW,
        reference_stats: str = "paired",
        color_space: str = "rgb",
        rotations: int = ROTATIONS,
    ) -> io.NodeOutput:
        """Match the images on the chosen device."""
        return _run(
            "Image Histogram Match",
            len(image),
            lambda progress: match_images(
                image,
                reference,
                method,
                factor,
                _chosen_device(device),
                progress,
                source_stats=source_stats,
                target_index=target_index,
                window=window,
                reference_stats=reference_stats,
                image_mask=image_mask,
                reference_mask=reference_mask,
                color_space=color_space,
                rotations=rotations,
            ),
        )


class ImageHistogramSpecify(io.ComfyNode):
    """Give each image of a batch a histogram that is specified without a picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the sockets and widgets."""
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
                io.Combo.Input(
                    "target",
                    options=["uniform", "normal", "linear stretch", "histogram"],
                    default="uniform",
                    tooltip=(
                        "uniform: all levels equally often, known as equalization. normal: around a mean, as many darker as "
                        "brighter. linear stretch: the darkest pixels become black, the brightest white, as auto levels does. "
                        "histogram: those connected below."
                    ),
                ),
                _factor_input(),
                _device_input(),
                _HISTOGRAM.Input(
                    "histogram", optional=True, tooltip="For histogram: the one for all channels, as Image Histogram gives it."
                ),
                *(
                    _HISTOGRAM.Input(
                        f"histogram_{name}", optional=True, tooltip=f"For histogram: in place of that, for {name}."
                    )
                    for name in ("red", "green", "blue")
                ),
                _image_mask_input(),
                io.Combo.Input(
                    "color_space",
                    options=list(COLOR_SPACES),
                    default=COLOR_SPACES[0],
                    optional=True,
                    tooltip="rgb: each channel gets the histogram. Others: their lightness alone does, and colours stay.",
                ),
                io.Float.Input(
                    "mean",
                    default=Normal.mean,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    optional=True,
                    tooltip="For normal: the level around which levels lie, 0 black to 1 white.",
                ),
                io.Float.Input(
                    "deviation",
                    default=Normal.deviation,
                    min=0.001,
                    max=10.0,
                    step=0.01,
                    optional=True,
                    tooltip="For normal: the standard deviation, before what lies beyond black and white is cut off.",
                ),
                io.Float.Input(
                    "clip_low",
                    default=LinearStretch.low,
                    min=0.0,
                    max=99.0,
                    step=0.1,
                    optional=True,
                    tooltip="For linear stretch: how many percent of the pixels may become black.",
                ),
                io.Float.Input(
                    "clip_high",
                    default=LinearStretch.high,
                    min=0.0,
                    max=99.0,
                    step=0.1,
                    optional=True,
                    tooltip="For linear stretch: how many percent of the pixels may become white.",
                ),
                *_clip_inputs(),
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
        return schema

    @classmethod
    def execute(
        cls,
        image: Tensor,
        target: str,
        factor: float,
        device: str,
        histogram: list[int] | None = None,
        histogram_red: list[int] | None = None,
        histogram_green: list[int] | None = None,
        histogram_blue: list[int] | None = None,
        image_mask: Tensor | None = None,
        color_space: str = "rgb",
        mean: float = Normal.mean,
        deviation: float = Normal.deviation,
        clip_low: float = LinearStretch.low,
        clip_high: float = LinearStretch.high,
        source_stats: str = "per_frame",
        target_index: int = 0,
        window: int = WINDOW,
    ) -> io.NodeOutput:
        """Change the images on the chosen device.

        Raises:
            ValueError: the histograms that are connected do not go with the target.
        """
        each = [counts for counts in (histogram_red, histogram_green, histogram_blue) if counts is not None]
        chosen: Callable[[Tensor], Tensor]
        if target == "histogram":
            if (histogram is None) == (len(each) == 0) or len(each) not in (0, 3):
                raise ValueError(
                    "histogram: expected one for all channels, or histogram_red, histogram_green and histogram_blue, "
                    f"got {len(each)} of these and {'none' if histogram is None else 'one'} for all"
                )
            chosen = Specified(each if histogram is None else histogram)
        elif histogram is not None or each:
            raise ValueError(f"target: expected histogram, since one is connected, got {target}")
        elif target == "normal":
            chosen = Normal(mean, deviation)
        else:
            chosen = Uniform() if target == "uniform" else LinearStretch(clip_low, clip_high)
        return _run(
            "Image Histogram Specify",
            len(image),
            lambda progress: specify_images(
                image,
                chosen,
                factor,
                _chosen_device(device),
                progress,
                color_space=color_space,
                source_stats=source_stats,
                target_index=target_index,
                window=window,
                image_mask=image_mask,
            ),
        )


class ReferenceHistogramNode(io.ComfyNode):
    """Pool any number of images into one reference, keep it in a file, and take it from there again."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the sockets and widgets."""
        files = [name for name in folder_paths.get_filename_list(_FOLDER) if name.endswith(SUFFIX)]
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
                _REFERENCE.Input("reference", optional=True, tooltip="Another reference, to add to."),
                io.Combo.Input(
                    "load",
                    options=[_NO_FILE, *files],
                    default=_NO_FILE,
                    optional=True,
                    tooltip="A file to take, from the folder histograms in ComfyUI's output folder or among its models.",
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
            ],
            outputs=[_REFERENCE.Output(display_name="reference", tooltip="Goes where a reference image would go.")],
        )
        schema.search_aliases = ["style set", "reference set", "average histogram", "save histogram", "load histogram"]
        return schema

    @classmethod
    def fingerprint_inputs(cls, load: Any = None, **_: Any) -> float:
        """When the file was last changed, so that it is read again then."""
        name = load[0] if isinstance(load, list) else load
        path = None if name in (None, _NO_FILE) else folder_paths.get_full_path(_FOLDER, name)
        return 0.0 if path is None else os.path.getmtime(path)

    @classmethod
    def execute(
        cls,
        images: list[Tensor] | None = None,
        mask: list[Tensor] | None = None,
        reference: list[ReferenceHistogram] | None = None,
        load: list[str] | None = None,
        save_as: list[str] | None = None,
    ) -> io.NodeOutput:
        """Pool what is given, and keep it if a name is.

        Raises:
            ValueError: nothing is given, or ``save_as`` is not the name of a file.
        """
        name = (save_as or [""])[0].strip().removesuffix(SUFFIX)
        # Either kind of separator, whatever the system: a workflow may come from elsewhere.
        if name and (name != Path(name).name or "\\" in name or ":" in name or name.startswith(".")):
            raise ValueError(f"save_as: expected the name of a file, without folders, got {name!r}")
        parts = list(reference or [])
        if load and load[0] != _NO_FILE:
            parts.append(ReferenceHistogram.load(folder_paths.get_full_path_or_raise(_FOLDER, load[0])))
        bar = comfy.utils.ProgressBar(len(images or []) or 1)
        for index, batch in enumerate(images or []):
            parts.append(ReferenceHistogram.of(batch, mask[min(index, len(mask) - 1)] if mask else None))
            bar.update(1)
            comfy.model_management.throw_exception_if_processing_interrupted()
        if not parts:
            raise ValueError("images: expected images, a reference or a file to load, got none of them")
        pooled = parts[0]
        for part in parts[1:]:
            pooled = pooled + part
        if name:
            folder = Path(folder_paths.get_output_directory(), _FOLDER)
            folder.mkdir(parents=True, exist_ok=True)
            pooled.save(folder / (name + SUFFIX))
        return io.NodeOutput(pooled)


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
        return [ImageHistogramMatch, ImageHistogramSpecify, ReferenceHistogramNode]
