"""The table of methods: what each is for and what it supports. Everything else reads it here, without torch."""

from dataclasses import dataclass

COLOR_SPACES = ("rgb", "luminance", "lab", "oklab", "ycbcr")
"""Names of the color spaces, the default first."""
ROTATIONS = 30
"""The default number of rotations of ``sliced``."""


@dataclass(frozen=True)
class Method:
    """A way to match: what it does and when to ``use`` it, and the ``source`` that describes it.

    ``differentiable`` says whether its result has a gradient, ``per_frame_only`` why it can measure each frame only by itself,
    empty if it can pool and smooth, and ``own_space`` in which color space it was described, empty if that is RGB. ``aligned``
    is whether it compares each image pixel by pixel with its own reference, which shows the same at the same place. ``whole``
    says why it has no cells of a grid, empty if it has.
    """

    use: str
    source: str
    differentiable: bool = True
    per_frame_only: str = ""
    own_space: str = ""
    aligned: bool = False
    whole: str = ""


_JOINT = "it finds one change for the colors of the whole picture"

METHODS = {
    "pytorch": Method(
        "each channel gets the reference's histogram, at 16 bits; the one to start with.",
        "Gonzalez and Woods, Digital Image Processing, ch. 3",
    ),
    "skimage": Method(
        "the same by scikit-image's match_histograms on the CPU; slower, to compare with.",
        "scikit-image",
        differentiable=False,
        per_frame_only="scikit-image compares two pictures",
        whole="scikit-image compares whole pictures",
    ),
    "nearest": Method(
        "the textbook's: 256 levels, each goes to the one of nearest rank; a baseline for comparisons.",
        "Otsuka et al. 2025, Algorithm 1",
        differentiable=False,
    ),
    "exact": Method(
        "the reference's histogram exactly, level by level; equal pixels are told apart by their surroundings. "
        "For measurements and for stretching pictures of few levels.",
        "Coltuc, Bolon and Chassery 2006",
        differentiable=False,
        per_frame_only="it ranks the pixels of one frame",
        whole="it ranks all pixels of a frame",
    ),
    "reinhard": Method(
        "mean and spread of each channel, in a color space made for it; a gentle change of mood.",
        "Reinhard et al. 2001",
        own_space="log_cones",
        whole=_JOINT,
    ),
    "mkl": Method(
        "mean and covariance of the colors by the smallest linear change; smooth, never bands, good for video.",
        "Pitie and Kokaram 2007",
        whole=_JOINT,
    ),
    "mvgd": Method(
        "the same map as mkl, under the other name that Color Match has for it.", "Hahne and Aggoun 2021", whole=_JOINT
    ),
    "hm-mkl-hm": Method(
        "channels, then mkl, then channels again: every channel right, and the colors nearer.",
        "Hahne and Aggoun 2021",
        whole=_JOINT,
    ),
    "hm-mvgd-hm": Method(
        "the same as hm-mkl-hm, under the other name that Color Match has for it.", "Hahne and Aggoun 2021", whole=_JOINT
    ),
    "sliced": Method(
        "the colors themselves, not channel by channel, and the picture's own texture; the closest match.",
        "Pitie, Kokaram and Dahyot 2007",
        whole=_JOINT,
    ),
    "aligned-curve": Method(
        "the curve for each channel that leads from image to reference, for two versions of one picture at one place, such as "
        "before and after an edit; up to 40 % of it may show something else.",
        "Barlow et al. 1972; Beaton and Tukey 1974",
        differentiable=False,
        aligned=True,
    ),
    "aligned-linear": Method(
        "the same by one linear change of colors, which mixes channels: for white balance, casts and color matrices.",
        "Hoerl and Kennard 1970; Beaton and Tukey 1974",
        aligned=True,
    ),
}
"""All methods by their names, the default first."""
