"""Diagrams as SVG: one file without scripts, fonts or links to others.

Colours follow the reader's preference for light or dark. Coordinates are in
pixels, y pointing down.
"""

import math
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

FONT_SIZE = 12

# What tells apart series and states also for people who do not see all colours
# (Okabe and Ito); with a contrast of 3 to 1 at least on either background.
_STYLE = """
svg { background: #ffffff; font: 12px sans-serif }
svg { max-width: 100%; height: auto }
.back { fill: #ffffff }
text { fill: #1f2328 }
text.faint { fill: #59636e }
.grid { stroke: #d1d9e0; fill: none }
.first { color: #0072b2 }
.second { color: #c04a00 }
.third { color: #6b6b6b }
@media (prefers-color-scheme: dark) {
svg { background: #0d1117 }
.back { fill: #0d1117 }
text { fill: #e6edf3 }
text.faint { fill: #9198a1 }
.grid { stroke: #3d444d }
.first { color: #56b4e9 }
.second { color: #f08c3c }
.third { color: #a0a0a0 }
}
"""
SERIES = ("first", "second", "third")
"""Classes of the colours of series; shapes take them as `currentColor`."""


def document(
    width: float,
    height: float,
    title: str,
    parts: Iterable[str],
    data: str = "",
) -> str:
    """A whole file.

    Args:
        width, height: of the drawing.
        title: what it shows, for those who cannot see it.
        parts: elements, later ones over earlier ones.
        data: a text without characters that have a meaning in XML, which is
            kept in the file and not shown; see `read_data`.
    """
    kept = [f"{_DATA}{data}{_END_OF_DATA}"] if data else []
    return "\n".join(
        [
            '<svg xmlns="http://www.w3.org/2000/svg" role="img" '
            f'width="{width:g}" height="{height:g}" '
            f'viewBox="0 0 {width:g} {height:g}">',
            f"<title>{quote(title)}</title>",
            *kept,
            f"<style>{_STYLE}</style>",
            '<rect class="back" width="100%" height="100%"/>',
            *parts,
            "</svg>\n",
        ]
    )


_DATA, _END_OF_DATA = '<metadata id="data">', "</metadata>"


def read_data(text: str) -> str:
    """The data that `document` has put into a file; empty for none."""
    _, _, rest = text.partition(_DATA)
    data, end, _ = rest.partition(_END_OF_DATA)
    return data if end else ""


def quote(words: str) -> str:
    """Text for XML, which cannot hold all characters that labels can."""
    return escape("".join(c if _is_allowed(c) else "\ufffd" for c in words))


def _is_allowed(c: str) -> bool:
    # Production 2 of XML 1.0, without line ends.
    return (
        c >= " " and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff"
    )


def text(
    x: float,
    y: float,
    words: str,
    anchor: str = "middle",
    kind: str = "",
    size: float = FONT_SIZE,
    turn: float = 0,
    room: float = math.inf,
) -> str:
    """A line of text.

    Args:
        x, y: of its start, middle or end on the base line.
        words: the text.
        anchor: `start`, `middle` or `end`.
        kind: a class: "" or `faint`.
        size: of the font.
        turn: degrees, clockwise around (x, y).
        room: pixels; a longer text is shortened, and whole in its tooltip.
    """
    shown = shorten(words, room, size)
    more = f' class="{kind}"' if kind else ""
    if size != FONT_SIZE:
        more += f' font-size="{size:g}"'
    if turn:
        more += f' transform="rotate({turn:g} {_number(x)} {_number(y)})"'
    whole = "" if shown == words else f"<title>{quote(words)}</title>"
    return (
        f'<text x="{_number(x)}" y="{_number(y)}" text-anchor="{anchor}"{more}>'
        f"{quote(shown)}{whole}</text>"
    )


def width_of(words: str, size: float = FONT_SIZE) -> float:
    """About how wide a text is, in pixels, with a common sans-serif font."""
    return size * sum(map(_ems, words))


def _ems(c: str) -> float:
    if unicodedata.combining(c) or unicodedata.category(c) in ("Mn", "Cf"):
        return 0.0
    if unicodedata.east_asian_width(c) in "WF":
        return 1.0
    if c in "iljtfrI.,:;'|!()[] ":
        return 0.36
    return 0.9 if c in "mwMW@%" else 0.7 if c.isupper() else 0.62


def shorten(words: str, room: float, size: float = FONT_SIZE) -> str:
    """A text that is not wider than `room`, with an ellipsis if it is cut."""
    if width_of(words, size) <= room:
        return words
    kept, left = 0, room - width_of("…", size)
    for c in words:
        left -= size * _ems(c)
        if left < 0:
            break
        kept += 1
    return words[:kept].rstrip() + "…"


def path(
    d: str,
    color: str = "first",
    width: float = 2,
    dashes: str = "",
    opacity: float = 1,
) -> str:
    """A line along a path, in the colour of a series."""
    more = f' stroke-dasharray="{dashes}"' if dashes else ""
    if opacity < 1:
        more += f' stroke-opacity="{opacity:.2f}"'
    return (
        f'<path class="{color}" d="{d}" fill="none" stroke="currentColor" '
        f'stroke-width="{width:g}"{more}/>'
    )


def area(d: str, color: str = "first", opacity: float = 1) -> str:
    """The inside of a closed path, in the colour of a series."""
    return (
        f'<path class="{color}" d="{d}" fill="currentColor" '
        f'fill-opacity="{opacity:.2f}"/>'
    )


def bar(
    x: float,
    y: float,
    width: float,
    height: float,
    color: str = "first",
    opacity: float = 1,
    tip: str = "",
) -> str:
    """A filled rectangle, with a text that is shown where one points at it."""
    more = f' fill-opacity="{opacity:.2f}"' if opacity < 1 else ""
    shape = (
        f'<rect class="{color}" x="{_number(x)}" y="{_number(y)}" '
        f'width="{_number(width)}" height="{_number(height)}" '
        f'fill="currentColor"{more}'
    )
    return _with_tip(shape, "rect", tip)


def _with_tip(shape: str, name: str, tip: str) -> str:
    if not tip:
        return shape + "/>"
    return f"{shape}><title>{quote(tip)}</title></{name}>"


def dot(
    x: float,
    y: float,
    radius: float = 3,
    color: str = "first",
    opacity: float = 1,
    tip: str = "",
) -> str:
    """A filled circle, with a text that is shown where one points at it."""
    more = f' fill-opacity="{opacity:.2f}"' if opacity < 1 else ""
    shape = (
        f'<circle class="{color}" cx="{_number(x)}" cy="{_number(y)}" '
        f'r="{radius:g}" fill="currentColor"{more}'
    )
    return _with_tip(shape, "circle", tip)


def ring(x: float, y: float, radius: float = 6, color: str = "first") -> str:
    """A circle around a point."""
    return (
        f'<circle class="{color}" cx="{_number(x)}" cy="{_number(y)}" '
        f'r="{radius:g}" fill="none" stroke="currentColor" stroke-width="2"/>'
    )


class Axes(NamedTuple):
    """Two linear axes around a rectangle.

    Attributes:
        left, top, width, height: of the rectangle.
        x_range, y_range: the values at its sides, lowest first.
    """

    left: float
    top: float
    width: float
    height: float
    x_range: tuple[float, float] = (0.0, 1.0)
    y_range: tuple[float, float] = (0.0, 1.0)

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def bottom(self) -> float:
        return self.top + self.height

    def place(self, x: float, y: float) -> tuple[float, float]:
        """The coordinates of a point."""
        across = (x - self.x_range[0]) / (self.x_range[1] - self.x_range[0])
        up = (y - self.y_range[0]) / (self.y_range[1] - self.y_range[0])
        return (
            round(self.left + across * self.width, 1),
            round(self.top + (1 - up) * self.height, 1),
        )

    def draw(
        self,
        x_title: str,
        y_title: str,
        x_ticks: Sequence[float],
        y_ticks: Sequence[float],
        form: Callable[[float], str] = "{:g}".format,
        x_form: Callable[[float], str] | None = None,
    ) -> list[str]:
        """The grid, with numbers and titles.

        Args:
            x_title, y_title: below and beside it.
            x_ticks, y_ticks: values of its lines.
            form: how values are written.
            x_form: how those of x are written; None for the same way.
        """
        x_form = x_form or form
        middle = self.top + self.height / 2
        parts = []
        if x_title:
            x = self.left + self.width / 2
            parts.append(text(x, self.bottom + 38, x_title))
        if y_title:
            parts.append(text(self.left - 42, middle, y_title, turn=-90))
        low_x, low_y = self.x_range[0], self.y_range[0]
        for value in x_ticks:
            x, _ = self.place(value, low_y)
            label = text(x, self.bottom + 17, x_form(value), kind="faint")
            parts += [_grid_line(f"M{x} {self.bottom:g}V{self.top:g}"), label]
        for value in y_ticks:
            _, y = self.place(low_x, value)
            label = text(self.left - 7, y + 4, form(value), "end", "faint")
            parts += [_grid_line(f"M{self.left:g} {y}H{self.right:g}"), label]
        return parts


def _grid_line(d: str) -> str:
    return f'<path class="grid" d="{d}"/>'


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round values from `low` to `high`: multiples of 1, 2 or 5 times 10^n."""
    raw = (high - low) / about
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * k for k in (1, 2, 5, 10) if unit * k >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(at * step, 12) + 0.0 for at in range(first, last + 1)]


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
