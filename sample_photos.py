"""Photos that come with scikit-image, and clips made of them."""

from collections.abc import Callable

import torch
from skimage import data
from torch import Tensor

from .checks import check_choice, check_count

PHOTOS = ("chelsea", "coffee", "astronaut", "rocket", "hubble_deep_field", "retina")
"""Names of the photos, as scikit-image has them, the default first. Nothing is downloaded."""
CLIPS = ("pan", "crossing object", "fade", "cut")
"""Clips that can be made of a photo."""
KINDS = ("picture", *CLIPS, "linear light")
"""What can be made of a photo, the default first."""

# The longer side of a clip's frames.
_CLIP_SIDE = 512
_WHITE = 2.0
_ORANGE = (1.0, 0.45, 0.05)
_COLD, _WARM = (0.06, 0.09, 0.14), (1.0, 0.94, 0.82)


def sample_photo(photo: str, kind: str = KINDS[0], frames: int = 24) -> Tensor:
    """A photo, or a clip made of it.

    Args:
        photo: one of :data:`PHOTOS`.
        kind: one of :data:`KINDS`. ``"picture"``: the photo as it is. ``"pan"``: three quarters of it, from its left to its
            right. ``"crossing object"``: an orange disk moves through it. ``"fade"``: it comes out of a blue dark.
            ``"cut"``: from the middle on, the next of the photos is there, cut to the same size. ``"linear light"``: the photo
            as light, as in an EXR, of which white is 2: IEC 61966-2-1, item 5.2.
        frames: of a clip, 2 or more.

    Returns:
        float32, shape ``[B, H, W, 3]``, values in [0, 1], as light in [0, 2]; the longer side of a clip has 512 pixels at most.

    Raises:
        TypeError: ``frames`` is not a whole number.
        ValueError: an argument is none of the above.
    """
    check_choice("photo", photo, PHOTOS)
    check_choice("kind", kind, KINDS)
    check_count("frames", frames, 2)
    picture = _load(photo)
    if kind == "linear light":
        return _WHITE * torch.where(picture <= 0.04045, picture / 12.92, ((picture + 0.055) / 1.055) ** 2.4)
    return picture if kind == "picture" else _CLIPS[kind](_fitted(picture), photo, torch.linspace(0, 1, frames))


def _load(photo: str) -> Tensor:
    return torch.from_numpy(getattr(data, photo)())[None].float() / 255


def _fitted(picture: Tensor) -> Tensor:
    """Made smaller, if need be, to the size of a clip."""
    scale = _CLIP_SIDE / max(picture.shape[1:3])
    return picture if scale >= 1 else _resized(picture, [round(side * scale) for side in picture.shape[1:3]])


def _resized(picture: Tensor, size: list[int]) -> Tensor:
    channels = torch.nn.functional.interpolate(picture.movedim(-1, 1), size=size, mode="bilinear", antialias=True)
    return channels.clamp(0, 1).movedim(1, -1).contiguous()


def _middle(picture: Tensor, height: int, width: int) -> Tensor:
    """As much of the middle as there is in the proportions of that size, at that size."""
    had = picture.shape[1:3]
    scale = max(height / had[0], width / had[1])
    rows, columns = min(had[0], round(height / scale)), min(had[1], round(width / scale))
    top, left = (had[0] - rows) // 2, (had[1] - columns) // 2
    return _resized(picture[:, top : top + rows, left : left + columns], [height, width])


def _pan(picture: Tensor, _photo: str, times: Tensor) -> Tensor:
    width = picture.shape[2] * 3 // 4
    firsts = (times * (picture.shape[2] - width)).round().int().tolist()
    return torch.cat([picture[:, :, first : first + width] for first in firsts])


def _crossing_object(picture: Tensor, _photo: str, times: Tensor) -> Tensor:
    height, width = picture.shape[1:3]
    radius = height / 4
    down, along = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    center = times[:, None, None] * (width + 2 * radius) - radius
    inside = (radius + 0.5 - torch.hypot(along - center, down - height / 2)).clamp(0, 1)[..., None]
    return torch.lerp(picture, torch.tensor(_ORANGE), inside)


def _fade(picture: Tensor, _photo: str, times: Tensor) -> Tensor:
    return picture * torch.lerp(torch.tensor(_COLD), torch.tensor(_WARM), times[:, None])[:, None, None]


def _cut(picture: Tensor, photo: str, times: Tensor) -> Tensor:
    other = _middle(_load(PHOTOS[(PHOTOS.index(photo) + 1) % len(PHOTOS)]), *picture.shape[1:3])
    first = int((times < 0.5).sum())
    return torch.cat([picture.expand(first, -1, -1, -1), other.expand(len(times) - first, -1, -1, -1)])


_CLIPS: dict[str, Callable[[Tensor, str, Tensor], Tensor]] = {
    "pan": _pan,
    "crossing object": _crossing_object,
    "fade": _fade,
    "cut": _cut,
}
