"""Plots as SVG, written by hand: bars of ratios, and lines through points on logarithmic axes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

# Distinguishable to colour-blind readers too (Okabe and Ito).
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999999")
FONT = 'font-family="sans-serif" font-size="12"'
MARGIN = 60


class _Drawing:
    """Elements of one picture, in pixels from the top left."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self._size = (width, height)
        self._elements = [f"<title>{escape(title)}</title>"]
        self.text(width / 2, 20, title, anchor="middle", weight="bold")

    def text(self, x: float, y: float, text: str, *, anchor: str = "start", turn: int = 0, weight: str = "") -> None:
        turned = f' transform="rotate({turn} {x:.1f} {y:.1f})"' if turn else ""
        bold = f' font-weight="{weight}"' if weight else ""
        self._elements.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{bold}{turned}>{escape(text)}</text>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: str = "#cccccc", width: float = 1) -> None:
        self._elements.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'
        )

    def bar(self, x: float, y: float, width: float, height: float, colour: str, tip: str) -> None:
        self._elements.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}">'
            f"<title>{escape(tip)}</title></rect>"
        )

    def point(self, x: float, y: float, colour: str, tip: str) -> None:
        self._elements.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"><title>{escape(tip)}</title></circle>'
        )

    def legend(self, names: Sequence[str]) -> None:
        x = float(MARGIN)
        for name, colour in zip(names, COLOURS, strict=False):
            self.bar(x, 30, 10, 10, colour, name)
            self.text(x + 14, 40, name)
            x += 30 + 7.5 * len(name)

    def svg(self) -> str:
        width, height = self._size
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}"'
            f' viewBox="0 0 {width:.0f} {height:.0f}" {FONT}>\n<rect width="100%" height="100%" fill="white"/>\n'
            + "\n".join(self._elements)
            + "\n</svg>\n"
        )


def bar_chart(title: str, groups: Mapping[str, Mapping[str, float]], *, top: float = 2.0) -> str:
    """SVG of ratios: a group of bars per name, a bar per series. A line marks 1; bars above `top` are cut, and say so.

    >>> "crc32, V8: 0.50" in bar_chart("ratios", {"crc32": {"V8": 0.5}})
    True
    """
    names = list(dict.fromkeys(series for group in groups.values() for series in group))
    bar_width = 6
    group_width = bar_width * len(names) + 10
    height, floor = 420, 320
    drawing = _Drawing(2 * MARGIN + group_width * len(groups), height, title)
    drawing.legend(names)
    scale = (floor - MARGIN - 20) / top  # room for the figures of bars that are cut
    right = MARGIN + group_width * len(groups)
    for tenth in range(int(top * 4) + 1):
        level = tenth / 4
        y = floor - level * scale
        drawing.line(MARGIN, y, right, y, "#000000" if level in (0, 1) else "#dddddd")
        drawing.text(MARGIN - 6, y + 4, f"{level:.2f}", anchor="end")
    for position, (group, values) in enumerate(groups.items()):
        left = MARGIN + position * group_width + 5
        for index, series in enumerate(names):
            if series not in values:
                continue
            ratio = values[series]
            shown = min(ratio, top)
            x = left + index * bar_width
            tip = f"{group}, {series}: {ratio:.2f}"
            drawing.bar(x, floor - shown * scale, bar_width - 1, shown * scale, COLOURS[index % len(COLOURS)], tip)
            if ratio > top:
                drawing.text(x + bar_width - 1, floor - top * scale - 3, f"{ratio:.1f}", turn=-90)
        drawing.text(left + group_width / 2 - 2, floor + 12, group, anchor="end", turn=-60)
    return drawing.svg()


def _decades(values: Sequence[float]) -> tuple[int, int]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def line_chart(
    title: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    x_label: str = "",
    y_label: str = "",
    legend: bool = True,
) -> str:
    """SVG of (x, y) points, joined in order of x, on logarithmic axes. All values are positive; raises ValueError if
    there is none, or one is not. Without a `legend`, points still say what they are when pointed at.

    >>> line_chart("t", {"a": [(1.0, 2.0), (10.0, 20.0)]}).count("<circle")
    2
    """
    points = [point for found in series.values() for point in found]
    if not points or any(not value > 0 for point in points for value in point):
        raise ValueError("logarithmic axes need positive values")
    width, height = 720, 460
    left, right, top, floor = MARGIN + 20, width - 30, MARGIN, height - MARGIN
    (x_low, x_high), (y_low, y_high) = _decades([x for x, _ in points]), _decades([y for _, y in points])

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - x_low) / (x_high - x_low)
        up = (math.log10(y) - y_low) / (y_high - y_low)
        return left + across * (right - left), floor - up * (floor - top)

    drawing = _Drawing(width, height, title)
    if legend:
        drawing.legend(list(series))
    for decade in range(x_low, x_high + 1):
        x, _ = place(10.0**decade, 10.0**y_low)
        drawing.line(x, top, x, floor)
        drawing.text(x, floor + 18, f"{10.0**decade:g}", anchor="middle")
    for decade in range(y_low, y_high + 1):
        _, y = place(10.0**x_low, 10.0**decade)
        drawing.line(left, y, right, y)
        drawing.text(left - 6, y + 4, f"{10.0**decade:g}", anchor="end")
    drawing.text((left + right) / 2, height - 14, x_label, anchor="middle")
    drawing.text(18, (top + floor) / 2, y_label, anchor="middle", turn=-90)
    for index, (name, found) in enumerate(series.items()):
        colour = COLOURS[index % len(COLOURS)]
        places = [(place(x, y), x, y) for x, y in sorted(found)]
        for (start, *_), (end, *_) in itertools.pairwise(places):
            drawing.line(*start, *end, colour, 1.5)
        for (at_x, at_y), x, y in places:
            drawing.point(at_x, at_y, colour, f"{name}: {x:g}, {y:g}")
    return drawing.svg()
