"""matplotlib figure → SVG that lives inside a page and wears the page's colours.

Figures are drawn with the object API in the placeholder colours below; `to_svg` turns those into CSS
variables, so that one figure serves light and dark pages. Text stays text, in the page's font. The
same figure always gives the same characters.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#010203"
"""Text of axes."""
LINE = "#010204"
"""Axes and grid."""
ACCENT = "#010205"
"""Data."""
CONTRAST = "#010206"
"""What data are held against."""
VARIABLES = {INK: "--ink-soft", LINE: "--line", ACCENT: "--accent", CONTRAST: "--contrast"}
"""Placeholder → the CSS variable that takes its place."""

WIDTH_INCHES = 5.0
"""Width of a figure; small, so that its text stays readable on a phone."""
MARGINS_INCHES = (0.75, 0.15, 0.45, 0.2)
"""Left, right, below and above; left of it have place numbers of eight characters."""
TEXT_POINTS = 10.5
"""Size of all text."""
RASTER_DPI = 110
"""Resolution of images inside a figure."""
STYLE: dict[Any, Any] = {
    "font.size": TEXT_POINTS,
    "axes.labelsize": TEXT_POINTS,
    "xtick.labelsize": TEXT_POINTS,
    "ytick.labelsize": TEXT_POINTS,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.edgecolor": LINE,
    "axes.labelpad": 3.0,
    "xtick.major.pad": 5.0,
    "ytick.major.pad": 4.0,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
    "grid.color": LINE,
    "axes.axisbelow": True,
    "svg.fonttype": "none",
}
"""Settings of matplotlib while a figure is drawn."""


@contextmanager
def drawing(
    height_inches: float, *, rows: int = 1, margins: bool = False
) -> Iterator[tuple[Figure, list[Axes]]]:
    """Give a figure with `rows` plots below each other, under this page's style.

    Args:
        height_inches: of the whole figure.
        rows: number of plots.
        margins: leave `MARGINS_INCHES` around the plots instead of measuring their text, which takes half of the time.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = None if margins else ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.03)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever the user's own settings are
        matplotlib.rcParams.update(STYLE)
        figure = Figure(figsize=(WIDTH_INCHES, height_inches), layout=layout, dpi=RASTER_DPI)
        plots = figure.subplots(rows, 1, squeeze=False)
        if margins:
            left, right, bottom, top = MARGINS_INCHES
            figure.subplots_adjust(
                left=left / WIDTH_INCHES,
                right=1 - right / WIDTH_INCHES,
                bottom=bottom / height_inches,
                top=1 - top / height_inches,
            )
        yield figure, [plot for (plot,) in plots]


def to_svg(figure: Figure, name: str, description: str) -> Markup:
    """Return a figure as an `<svg>` element.

    Args:
        figure: drawn inside `drawing`.
        name: unique on the page; keeps the ids inside the figure apart from those of others.
        description: what the picture shows, for those who cannot see it.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        FigureCanvasSVG(figure).print_svg(  # type: ignore[no-untyped-call]
            buffer, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)  # would style the whole page
    text = re.sub(r'(<g) id="[^"]*"', r"\1", text)
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    text = re.sub(r"font: ([^;\"]*?)([\d.]+px)[^;\"]*", r"font-size: \2", text)
    for placeholder, variable in VARIABLES.items():
        text = text.replace(placeholder, f"var({variable})")
    _, body = text.split(">", 1)
    width, height = (72 * float(inches) for inches in figure.get_size_inches())
    opening = f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(description)}">'
    return Markup(opening + re.sub(r"\n\s*", "\n", body).strip())  # noqa: S704 - drawn here, from numbers
