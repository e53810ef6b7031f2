"""The codecs of videos, and what files they are kept in; known before there is PyAV."""

from pathlib import Path

CODECS = {"h264": "libx264", "h265": "libx265", "vp9": "libvpx-vp9", "av1": "libsvtav1", "prores": "prores_ks", "ffv1": "ffv1"}
"""The codecs that can be asked for, and their encoders. FFV1 is lossless."""
# What pages and players open.
_CONTAINERS = (".mp4", ".m4v", ".mov", ".mkv", ".webm")
# For each codec the containers it is found in, the most usual first, and last the one that holds any sound beside it.
_HOLDERS = {
    "h264": (".mp4", ".m4v", ".mov", ".mkv"),
    "h265": (".mp4", ".m4v", ".mov", ".mkv"),
    "vp9": (".mp4", ".webm", ".mkv"),
    "av1": (".mp4", ".webm", ".mkv"),
    "prores": (".mov", ".mkv"),
    "ffv1": (".mkv",),
}


def suffixes_for(source: Path, codec: str | None) -> list[str]:
    """The endings of files that can hold a video of a codec, None for the source's, what the source has first if it can."""
    own = source.suffix.lower() if source.suffix.lower() in _CONTAINERS else ".mp4"
    if codec is None:
        return [own, ".mkv"]
    return [*dict.fromkeys(suffix for suffix in (own, *_HOLDERS[codec]) if suffix in _HOLDERS[codec])]
