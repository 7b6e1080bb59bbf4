"""The picture of a dataset's card: how long the utterances are, and how well the codes are used."""

from __future__ import annotations

import io
import math

from speechtok.shards.statistics import Statistics

WIDTH_INCHES, ROW_INCHES = 8.0, 1.9
"""Size of one plot."""
DATA, BOUND = "#2a7f9e", "#c2571a"
"""Colours; readable on light and dark pages, each with its own white ground."""


def plot_statistics(statistics: Statistics) -> bytes:
    """Return a PNG: a histogram of durations, then the entropy of every codebook of each stream against its bound.

    The same statistics give the same bytes.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = 1 + len(statistics.streams)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever the user's own settings are
        figure = Figure(figsize=(WIDTH_INCHES, ROW_INCHES * count), layout="constrained", dpi=100)
        first, *others = figure.subplots(count, 1, squeeze=False)[:, 0]
        first.hist(statistics.durations, bins=40, color=DATA)
        first.set_xlabel("seconds")
        first.set_ylabel("utterances")
        for axes, item in zip(others, statistics.streams, strict=True):
            axes.bar(range(len(item.entropy)), item.entropy, color=DATA)
            bound = math.log2(item.stream.codebook_size)
            axes.axhline(bound, color=BOUND, linestyle="--", label="bound")
            axes.set_xlabel(f"codebook of {item.stream.name}")
            axes.set_ylabel("entropy (bits)")
            axes.set_ylim(top=1.3 * bound)
            axes.legend(loc="upper right", frameon=False)
            axes.xaxis.get_major_locator().set_params(integer=True)
        buffer = io.BytesIO()
        FigureCanvasAgg(figure).print_png(  # type: ignore[no-untyped-call]
            buffer, metadata={"Software": None}
        )
    return buffer.getvalue()
