"""The node Video Histogram Match."""

import contextlib
import tempfile
from pathlib import Path
from typing import Any
from uuid import uuid4

import folder_paths
import torch
from comfy_api.latest import Input, InputImpl, io
from torch import Tensor

from ..clip.settings import MatchSettings
from ..methods.table import METHODS
from ..videos.codecs import CODECS
from ..videos.requirement import missing_pyav
from .inputs import (
    REFERENCE,
    TRANSFORM,
    blend_inputs,
    cell_inputs,
    choice,
    chosen_device,
    clip_inputs,
    color_space_input,
    detail_inputs,
    method_input,
    reference_stats_input,
    refusal,
    rotations_input,
    shown_for,
    shown_progress,
)
from .panel import told

_SOURCE = "as source"
_CODECS = (_SOURCE, *CODECS)
_AS_LARGE = -1


class VideoHistogramMatch(io.ComfyNode):
    """Give a video the colors of a reference, frame by frame, without ever holding all of it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the sockets and widgets."""
        codec = (
            "How the result is encoded. as source: with the codec and the bits of the video, as far as there is an encoder. "
            "ffv1 loses nothing; Save Video keeps it as mkv."
        )
        quality = (
            "The encoder's constant rate factor: less is better and larger. -1: about as much room as the video takes. "
            "prores and ffv1 have none."
        )
        masks = "One mask for all frames, one for each, or a video of masks."
        schema = io.Schema(
            node_id="VideoHistogramMatch",
            display_name="Video Histogram Match",
            category="image/filters",
            description=(
                "Gives a video the colors of a reference, as Image Histogram Match does images, but frame by frame, from file "
                "to file: clips of any length take no more memory than short ones. Sound, time stamps and color tags stay."
            ),
            inputs=[
                io.Video.Input("video", tooltip="The video to change: of any length, trimmed or whole."),
                io.MultiType.Input(
                    "reference",
                    types=[io.Image, io.Video, REFERENCE, TRANSFORM],
                    tooltip=(
                        "The image whose colors are wanted, in any size; a video, whose frames go with those of the video; "
                        "what Reference Histogram has made of many; or a transform fitted elsewhere, which takes no method."
                    ),
                ),
                method_input(list(METHODS)),
                *blend_inputs(),
                choice("codec", _CODECS, codec),
                shown_for(
                    io.Int.Input("crf", default=_AS_LARGE, min=_AS_LARGE, max=63, tooltip=quality),
                    codec=[name for name in _CODECS if name not in ("prores", "ffv1")],
                ),
                _mask_input("image_mask", f"Where the frames are measured and changed; the rest stays as it is. {masks}"),
                io.Mask.Input(
                    "reference_mask",
                    optional=True,
                    tooltip="Where the reference is measured. One mask for all references or one for each.",
                ),
                _mask_input(
                    "change_mask", f"Where the frames are changed; image_mask is only where they are measured then. {masks}"
                ),
                *clip_inputs(),
                reference_stats_input(),
                color_space_input(),
                rotations_input(),
                *detail_inputs(),
                *cell_inputs(),
            ],
            outputs=[
                io.Video.Output(display_name="video", tooltip="The matched video, a file among ComfyUI's temporary ones.")
            ],
        )
        # Not an argument above, since ComfyUI before 2026 does not know it.
        schema.search_aliases = ["color match video", "video color grading", "flicker", "deflicker", "long video"]
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
        video: Input.Video,
        reference: Any,
        device: str,
        codec: str,
        crf: int,
        image_mask: Tensor | Input.Video | None = None,
        reference_mask: Tensor | None = None,
        change_mask: Tensor | Input.Video | None = None,
        **settings: Any,
    ) -> io.NodeOutput:
        """Match the video into a file; the other inputs are those of :class:`MatchSettings`."""
        if missing := missing_pyav():
            raise ValueError(missing)
        # Where it is known that there is PyAV.
        from ..videos.match import VideoMatch
        from .video_files import opened_rewriter, video_source

        temporary = Path(folder_paths.get_temp_directory())
        temporary.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=temporary, ignore_cleanup_errors=True)))
            reference, image_mask, change_mask = (
                video_source(given, folder) if isinstance(given, Input.Video) else given
                for given in (reference, image_mask, change_mask)
            )
            chosen = torch.device(chosen_device(device))
            match = VideoMatch(reference, MatchSettings(**settings), chosen, image_mask, reference_mask, change_mask)
            name = temporary / f"histogram-match-{uuid4().hex}"
            asked = None if codec == _SOURCE else codec, None if crf == _AS_LARGE else crf
            with opened_rewriter(video, folder, name, *asked) as (rewriter, path):
                notes = match.run(rewriter, shown_progress(rewriter.frame_count))
        return io.NodeOutput(InputImpl.VideoFromFile(str(path)), ui=told(cls, notes))


def _mask_input(name: str, tooltip: str) -> io.MultiType.Input:
    return io.MultiType.Input(name, types=[io.Mask, io.Video], optional=True, tooltip=tooltip)
