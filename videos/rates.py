"""How many bits the encoders take."""

from fractions import Fraction

_QUALITIES = {"libx264": (0, 51, 16), "libx265": (0, 51, 18), "libvpx-vp9": (0, 63, 20), "libsvtav1": (1, 63, 22)}
"""The lowest and the highest crf that an encoder knows, and one at which the loss is hard to see.

SVT-AV1 takes 0 for a value that is not set.
"""
_SHORT = 1
"""Seconds up to which a clip is too short for an encoder to aim at a rate."""
_NARROW = 48
"""Width up to which x265 4.2 writes past its own memory when it weighs blocks by what follows from them (cutree)."""


def encoder_options(name: str, crf: int | None, rate: Fraction, seconds: float, width: int) -> dict[str, str]:
    """The options of an encoder for a quality ``crf`` or, if it is None, for about ``rate`` bits in each of ``seconds``.

    Beyond a quality at which the loss is hard to see, the rate is not used up. A ValueError says which ``crf`` is expected.
    """
    if name not in _QUALITIES:
        if crf is not None:
            raise ValueError(f"crf: expected none for {name}, which has no such setting, got {crf}")
        return {}
    low, high, fine = _QUALITIES[name]
    if crf is not None and not low <= crf <= high:
        raise ValueError(f"crf: expected a number from {low} to {high} for {name}, got {crf}")
    # Looking 20 frames ahead instead of 40 takes half the memory.
    x265 = "log-level=none:cutree=0" if width <= _NARROW else "log-level=none"
    own = {"libx264": {"x264-params": "rc-lookahead=20"}, "libx265": {"x265-params": x265}}.get(name, {})
    if crf is not None or seconds < _SHORT:
        return {**own, "crf": str(fine if crf is None else crf)}
    less, near, more, most = (str(max(round(rate * Fraction(percent, 100)), 10_000)) for percent in (90, 105, 110, 120))
    return {
        # A tolerance of 1, which is the default, is for clips longer than most.
        "libx264": {"b": more, "qmin": "14", "x264-params": "rc-lookahead=20:ratetol=0.2"},
        "libx265": {
            "b": near,
            "maxrate": most,
            "bufsize": str(round(int(most) * min(seconds / 4, 5))),
            "x265-params": f"{x265}:qpmin=14",
        },
        "libvpx-vp9": {"b": near, "crf": str(fine)},
        "libsvtav1": {"b": str(min(int(less), 100_000_000))},
    }[name]
