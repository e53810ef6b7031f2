"""Drawing histograms with Pillow: at twice the size, and then made smaller, so that edges are smooth."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..clip.histograms import BINS
from .level_counts import ROWS, distance, mean_level, resampled, shares
from .vertical_axis import SCALES, VerticalAxis

__all__ = ["CHANNELS", "SCALES", "draw_histograms"]

CHANNELS = ("rgb", "luminance", "all")
"""Which histograms are drawn, the default first."""

Color = tuple[int, int, int]

_SHOWN = {"rgb": ROWS[:3], "luminance": ROWS[3:], "all": ROWS}
# Areas are pale, so that lines are seen over them; names are dark, to be read.
_AREAS: dict[str, Color] = {
    "red": (240, 158, 150),
    "green": (150, 208, 158),
    "blue": (156, 184, 242),
    "luminance": (190, 190, 190),
}
_NAMES: dict[str, Color] = {"red": (176, 32, 24), "green": (16, 110, 40), "blue": (24, 64, 176), "luminance": (60, 60, 60)}
# Apart in brightness and in dashes, so that they are told apart without colors.
_LINES: tuple[Color, Color] = ((16, 16, 16), (196, 0, 140))
_AXIS: Color = (96, 96, 96)
_GRID: Color = (228, 228, 228)
_TEXT: Color = (40, 40, 40)
_PAPER: Color = (255, 255, 255)
_TICKS = (0, 64, 128, 192, 255)
_LEAST_FONT = 8
_LONGEST_NAME, _SHORTEST_NAME = 40, 3
# In heights of the text: a title, three samples and some letters of three names.
_LEGEND_WIDTH = 24
# Of a name beside numbers, so much has to be left.
_SHORT_NAME = 8


@dataclass(frozen=True)
class _Panel:
    """Where the histogram of a row is, in pixels of the picture: its left, top, width and height."""

    left: int
    top: int
    width: int
    height: int

    @property
    def bottom(self) -> int:
        """The pixel below."""
        return self.top + self.height


def draw_histograms(counts: dict[str, Tensor], channels: str, scale: str, width: int, height: int) -> Image.Image:
    """Draw counts ``[4, 256]`` of one to three images, by their names, with some pixels in each row."""
    names = _SHOWN[channels]
    rows = [[shares(counted[ROWS.index(name)]) for counted in counts.values()] for name in names]
    axes = [VerticalAxis.of(row, scale) for row in rows]
    pen = _Pen(width, height)
    legend, panels = _layout(pen, axes)
    for name, row, axis, panel in zip(names, rows, axes, panels, strict=True):
        pen.ticks(panel, axis, labels=name == names[-1])
        for index, part in enumerate(row):
            heights = axis.positions(resampled(part.numpy(), min(BINS, panel.width), bridged=index > 0))
            if index == 0:
                pen.area(panel, heights, _AREAS[name])
            else:
                pen.curve(panel, heights, index - 1)
        pen.frame(panel)
    if legend is None:
        places = [(panel.left, panel.top - pen.line_height) for panel in panels]
        pen.legends(places, names, [_texts(list(counts), row) for row in rows])
    else:
        pen.legends([legend], names, [[(_plain(name), "") for name in counts]], titles=False)
    return pen.picture.reduce(2)


def _layout(pen: "_Pen", axes: Sequence[VerticalAxis]) -> tuple[tuple[int, int] | None, list[_Panel]]:
    """Where the one legend is, None if each row has its own over it, and where the rows are."""
    line, gap, rows = pen.line_height, pen.size // 2, len(axes)
    end = pen.height - line - gap
    each = (end - gap) // rows
    own = each - line - gap >= 2 * line and pen.width >= _LEGEND_WIDTH * pen.size
    top = gap if own else line
    each = each if own else (end - top) // rows
    tall = each - gap - (line if own else 0)
    labels = [label for axis in axes for _, label in axis.ticks(pen.most_ticks(tall))]
    left = 2 * gap + max(map(pen.length, labels))
    width = pen.width - left - pen.length(str(_TICKS[-1])) // 2 - gap
    tops = [top + number * each + (line if own else 0) for number in range(rows)]
    return None if own else (left, 0), [_Panel(left, first, width, tall) for first in tops]


def _plain(name: str) -> str:
    """A name in one line that is not too long."""
    return _cut(" ".join(name.split()), _LONGEST_NAME)


def _texts(names: Sequence[str], rows: Sequence[Tensor]) -> list[tuple[str, str]]:
    """The names, and what there is to tell of each."""
    numbers = [f"mean {mean_level(row):.1f}" for row in rows]
    numbers[1:] = [f"{told}, W1 {distance(row, rows[0]):.1f}" for told, row in zip(numbers[1:], rows[1:], strict=True)]
    return list(zip(map(_plain, names), numbers, strict=True))


class _Pen:
    """What draws: it takes pixels of the picture, of which it draws four for each.

    ``size`` is that of the text, and ``line_height`` that of a line of it.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.size = max(_LEAST_FONT, round(min(width / 55, height / 34)))
        self.line_height = round(self.size * 1.5)
        self.picture = Image.new("RGB", (2 * width, 2 * height), _PAPER)
        self._draw = ImageDraw.Draw(self.picture)
        self._font = ImageFont.load_default(2 * self.size)
        self._stroke = max(2, round(self.size / 4.5))

    def length(self, text: str) -> int:
        """How wide a text is."""
        return -int(-self._font.getlength(text) // 2)

    def most_ticks(self, height: int) -> int:
        """How many labels there is room for, one below the other."""
        return max(1, int(height / (1.3 * self.line_height)))

    def text(self, left: float, middle: float, text: str, color: Color = _TEXT, anchor: str = "lm") -> None:
        """Write a line, by default from its left end, around its middle."""
        self._draw.text((2 * left, 2 * middle), text, fill=color, font=self._font, anchor=anchor)

    def rectangle(self, left: int, top: int, width: int, height: int, color: Color) -> None:
        """Fill whole pixels."""
        self._draw.rectangle((2 * left, 2 * top, 2 * (left + width) - 1, 2 * (top + height) - 1), fill=color)

    def ticks(self, panel: _Panel, axis: VerticalAxis, labels: bool) -> None:
        """Draw the ticks of both axes and a grid; ``labels``: those of the levels as well."""
        tick = max(2, self.size // 4)
        for share, label in axis.ticks(self.most_ticks(panel.height)):
            at = panel.bottom - 1 - round(float(axis.positions(np.array(share))) * (panel.height - 1))
            self.rectangle(panel.left, at, panel.width, 1, _GRID)
            self.rectangle(panel.left - tick, at, tick, 1, _AXIS)
            self.text(panel.left - tick - 2, at, label, anchor="rm")
        for level in _TICKS:
            at = panel.left + int((level + 0.5) / BINS * panel.width)
            self.rectangle(at, panel.top, 1, panel.height, _GRID)
            self.rectangle(at, panel.bottom, 1, tick, _AXIS)
            if labels:
                self.text(at, panel.bottom + tick + self.line_height / 2, str(level), anchor="mm")

    def frame(self, panel: _Panel) -> None:
        """Draw the lines of both axes, over what stands on them."""
        self.rectangle(panel.left - 1, panel.top, 1, panel.height, _AXIS)
        self.rectangle(panel.left - 1, panel.bottom, panel.width + 1, 1, _AXIS)

    def area(self, panel: _Panel, heights: NDArray[np.float64], color: Color) -> None:
        """Draw bars of heights that are parts of the panel's."""
        edges = (np.linspace(0, 2 * panel.width, len(heights) + 1).round() + 2 * panel.left).astype(int)
        tops = 2 * panel.bottom - (heights * 2 * panel.height).round().astype(int)
        for left, right, top in zip(edges[:-1], edges[1:], tops, strict=True):
            if top < 2 * panel.bottom:
                self._draw.rectangle((int(left), int(top), int(right) - 1, 2 * panel.bottom - 1), fill=color)

    def curve(self, panel: _Panel, heights: NDArray[np.float64], style: int) -> None:
        """Draw a line through the middles of the tops of such bars."""
        along = 2 * (panel.left + (np.arange(len(heights)) + 0.5) / len(heights) * panel.width)
        points = np.stack([along, 2 * (panel.bottom - heights * panel.height)], axis=1)
        self._line(points, style)

    def legends(
        self,
        places: Sequence[tuple[int, int]],
        rows: Sequence[str],
        texts: Sequence[Sequence[tuple[str, str]]],
        titles: bool = True,
    ) -> None:
        """Write the legends of rows from their left and top, of names and numbers, as much as there is room for.

        What belongs together stands in one column.
        """
        sample, gap = (self.size * 3 // 2, self.size // 2) if titles else (self.size * 5 // 4, self.size // 4)
        left = places[0][0]
        if titles:
            for row, (_, top) in zip(rows, places, strict=False):
                self.text(left, top + self.line_height / 2, row, _NAMES[row])
            left += max(map(self.length, rows)) + 2 * self.size
        room = self.width - left - len(texts[0]) * (sample + 3 * gap) + gap
        told = self._fitting(texts, room)
        for index, column in enumerate(zip(*told, strict=True)):
            for row, (_, top), text in zip(rows, places, column, strict=False):
                self._sample(left, top + self.line_height // 2, sample, index, row)
                self.text(left + sample + gap, top + self.line_height / 2, text)
            left += sample + max(map(self.length, column)) + 3 * gap

    def _fitting(self, texts: Sequence[Sequence[tuple[str, str]]], room: int) -> list[list[str]]:
        """Texts in columns that together are not wider: without numbers, if need be, and names cut off; or else empty."""
        longest = max(len(name) for name, _ in texts[0])
        for numbers, shortest in ((True, min(longest, _SHORT_NAME)), (False, min(longest, _SHORTEST_NAME))):
            for most in range(longest, shortest - 1, -1):
                told = [
                    [_cut(name, most) + (f"  {number}" if numbers and number else "") for name, number in row] for row in texts
                ]
                if sum(max(map(self.length, column)) for column in zip(*told, strict=True)) <= room:
                    return told
        return [["" for _ in row] for row in texts]

    def _sample(self, left: int, middle: int, width: int, index: int, row: str) -> None:
        """Draw a piece of what the image of this number is drawn with."""
        if index == 0:
            self.rectangle(left, middle - self.size * 3 // 8, width, self.size * 3 // 4, _AREAS[row])
        else:
            self._line(np.array([[2.0 * left, 2.0 * middle], [2.0 * (left + width), 2.0 * middle]]), index - 1)

    def _line(self, points: NDArray[np.float64], style: int) -> None:
        """Draw a line through points ``[N, 2]``, the second style in dashes, on a light ground that lifts it off areas."""
        dashes = [points] if style == 0 else _dashes(points, 7 * self._stroke, 4 * self._stroke)
        for color, width in ((_PAPER, self._stroke + max(2, self._stroke // 2)), (_LINES[style], self._stroke)):
            for dash in dashes:
                self._draw.line([(float(x), float(y)) for x, y in dash], fill=color, width=width, joint="curve")


def _cut(name: str, most: int) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _dashes(points: NDArray[np.float64], on: float, off: float) -> list[NDArray[np.float64]]:
    """A line through points ``[N, 2]`` in pieces of a length ``on``, with gaps of ``off`` between them."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    pieces = []
    for first in np.arange(0, along[-1], on + off):
        last = min(first + on, along[-1])
        at = np.concatenate([[first], along[(along > first) & (along < last)], [last]])
        pieces.append(np.stack([np.interp(at, along, column) for column in points.T], axis=1))
    return pieces
