"""Which files are generated: combinations of what files can be, so that all pairs of values occur."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, fields, replace
from itertools import combinations

TIFFS = ("tif-raw", "tif-lzw", "tif-deflate")
WEBPS = ("webp-lossy", "webp-lossless")
FORMATS = ("png", "jpg", *WEBPS, *TIFFS, "gif", "bmp", "avif", "heic")
ENDINGS = {name: f".{name.split('-')[0]}" for name in FORMATS}
_DRAWN = 4000
COUNT = 400
_OUTPUTS = ("same", "png", "tif", "jpg", "webp", "gif", "avif", "bmp")
_REASONS = {"format", "depth", "color", "alpha", "frames", "profile", "damage", "output"}


@dataclass(frozen=True)
class Case:
    """One call of the command: a source, what lies beside it, and what is asked for."""

    format: str
    depth: str
    color: str
    alpha: str
    frames: str
    orientation: int
    profile: str
    meta: str
    damage: str
    reference: str
    mask: str
    turn: int
    method: str
    output: str

    def __str__(self) -> str:
        return "-".join(str(getattr(self, field.name)) for field in fields(self))

    @property
    def ending(self) -> str:
        """That of the result, by which the command chooses the format."""
        return self.source_ending if self.output == "same" else f".{self.output}"

    @property
    def source_ending(self) -> str:
        """That of the source, right or wrong."""
        if self.damage != "ending":
            return ENDINGS[self.format]
        return {".png": ".jpg", ".jpg": ".png", ".webp": ".png", ".tif": ".png", ".avif": ".jpg"}.get(
            ENDINGS[self.format], ".png"
        )

    @property
    def verdict(self) -> str:
        """``match``, ``refuse`` or, where there is no one right answer, ``either``."""
        if self.format == "heic" or self.frames == "pages" or self.profile == "broken":
            return "refuse"
        if self.damage not in ("none", "ending"):
            return "refuse"
        held = {".tif": ("1", "palette", "8", "16", "float"), ".png": ("1", "palette", "8", "16")}
        if self.depth not in held.get(self.ending, ("1", "palette", "8")):
            return "refuse"
        if self.frames == "animated" and self.ending in (".jpg", ".tif", ".bmp"):
            return "refuse"
        if self.alpha == "soft" and self.ending == ".gif":
            return "refuse"
        if self.alpha != "none" and self.ending in (".jpg", ".bmp"):
            # libwebp and libavif leave out an alpha that is full throughout.
            return "either" if self.alpha == "full" and self.format in (*WEBPS, "avif") else "refuse"
        return "either" if self.damage == "ending" else "match"


def _depths(name: str) -> list[str]:
    if name == "png":
        return ["1", "palette", "8", "16"]
    if name in TIFFS:
        return ["1", "palette", "8", "16", "float"]
    return {"gif": ["palette"], "bmp": ["1", "palette", "8"]}.get(name, ["8"])


def _colors(name: str, depth: str) -> list[str]:
    if depth in ("1", "palette"):
        return ["gray" if depth == "1" else "rgb"]
    if name in (*WEBPS, "heic"):
        return ["rgb"]
    return ["gray", "rgb"] + (["cmyk"] if depth == "8" and name in ("jpg", *TIFFS) else [])


def _alphas(name: str, depth: str, color: str) -> list[str]:
    if depth == "palette":
        return ["none", "cutout"] if name in ("png", "gif") else ["none"]
    if depth == "1" or color == "cmyk" or name in ("jpg", "bmp", "heic"):
        return ["none"]
    if name == "avif" and color == "gray":
        return ["none"]
    return ["none", "full", "cutout", "soft", "clear"]


def _frames(name: str, depth: str, color: str, alpha: str) -> list[str]:
    if alpha == "clear":
        # Frames in which nothing is seen are one.
        return ["still"]
    if name in (*WEBPS, "gif", "avif") or (name == "png" and depth == "8"):
        return ["still", "animated"]
    return ["still", "pages"] if name in TIFFS and depth == "8" and color != "cmyk" else ["still"]


def _profiles(name: str, depth: str, color: str) -> list[str]:
    if name in ("gif", "bmp", "heic") or depth in ("1", "palette"):
        return ["none"]
    if color == "cmyk":
        return ["none", "cmyk", "broken"]
    return ["none", "broken", *(["gray22"] if color == "gray" else ["srgb", "p3", "adobe"])]


def _metas(name: str, frames: str) -> list[str]:
    if name == "png":
        return ["none", "text", "exif", "xmp", "dpi", "chunks", "all"]
    if name in TIFFS:
        return ["none", "text", "exif", "xmp", "dpi", "all"] if frames == "still" else ["none"]
    named = {
        "jpg": ["none", "text", "exif", "xmp", "dpi", "iptc", "all"],
        "gif": ["none", "text"],
        "bmp": ["none", "dpi"],
        "heic": ["none"],
    }
    return named.get(name, ["none", "exif", "xmp", "all"])


def _damages(name: str) -> list[str]:
    if name == "heic":
        return ["none"]
    return ["none", "truncated", "ending", "empty", "garbage"] + (["flipped"] if name in ("png", "tif-deflate") else [])


def draw(chance: random.Random) -> Case:
    """A combination that can be made, at random."""
    pick = chance.choice
    name = pick(FORMATS)
    depth = pick(_depths(name))
    color = pick(_colors(name, depth))
    alpha = pick(_alphas(name, depth, color))
    frames = pick(_frames(name, depth, color, alpha))
    # Pillow 13 crashes where it is to write an AVIF sequence with an orientation.
    orientations = 1 if name in ("gif", "bmp", "heic") else 2 if (name, frames) == ("avif", "animated") else 9
    mask = pick(["none", "image", "reference"])
    case = Case(
        name,
        depth,
        color,
        alpha,
        frames,
        chance.randrange(orientations),
        pick(_profiles(name, depth, color)),
        pick(_metas(name, frames)),
        # Damage hides all else, so that most files have none.
        pick(_damages(name)) if chance.random() < 0.3 else "none",
        pick(["srgb", "p3", "gray", "cutout"]),
        mask,
        0 if mask == "none" else chance.randrange(9),
        chance.choices(["pytorch", "mkl", "sliced", "exact"], [4, 4, 1, 1])[0],
        chance.choices(_OUTPUTS, [10, 3, 3, 3, 1, 1, 1, 1])[0],
    )
    # A picture of another kind than its name says is written as what its name says, in whatever else is asked for.
    return replace(case, output="same") if case.damage == "ending" or _apart(case) else case


def _apart(case: Case) -> bool:
    """Whether tests of their own see to a case: what formats have no place for, and what Pillow 13 crashes of."""
    unseen = case.orientation > 1 or case.profile in ("p3", "adobe", "gray22")
    if case.output in ("gif", "bmp"):
        return unseen
    if case.output == "avif" and case.frames == "animated":
        return True
    return case.profile == "gray22" and (case.output == "webp" or (case.output == "avif" and case.alpha != "none"))


def drawn() -> list[Case]:
    """Many combinations, always the same."""
    chance = random.Random(12)
    return [draw(chance) for _ in range(_DRAWN)]


def pairs(case: Case) -> set[tuple[object, ...]]:
    """The pairs of values in a case, for themselves if it is to be matched, since a refusal hides the rest.

    Of those that are to be matched what pixels there are counts, too, and of the others what they may be refused for.
    """
    every = set(combinations([(field.name, getattr(case, field.name)) for field in fields(case)], 2))
    if case.verdict == "match":
        kinds = {
            (case.format, case.depth, case.color, case.alpha),
            (case.format, case.alpha, case.frames, case.output == "same"),
        }
        return every | {("match", *pair) for pair in every} | kinds
    return every | {("refuse", *pair) for pair in every if {pair[0][0], pair[1][0]} <= _REASONS}


def choose() -> list[Case]:
    """The cases: as few as cover all pairs that are found at random, then more of those that are to be matched."""
    pool = drawn()
    having: dict[tuple[object, ...], list[Case]] = defaultdict(list)
    for case in pool:
        for pair in pairs(case):
            having[pair].append(case)
    missing = dict.fromkeys(sorted(having, key=lambda pair: (len(having[pair]), str(pair))))
    chosen: dict[Case, None] = {}
    while missing:
        candidates = having[next(iter(missing))][:40]
        best = max(candidates, key=lambda case: sum(pair in missing for pair in pairs(case)))
        chosen[best] = None
        for pair in pairs(best):
            missing.pop(pair, None)
    chosen.update(dict.fromkeys(case for case in pool if case.verdict == "match"))
    return list(chosen)[:COUNT]
