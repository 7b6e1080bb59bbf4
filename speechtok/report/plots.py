"""The figures of a report: durations, code usage, entropy, spectrograms.

Each function draws one picture and returns it as SVG. Texts that come from a dataset never enter a
figure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from speechtok.report.svg import ACCENT, CONTRAST, drawing, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

    from speechtok.shards.statistics import StreamStatistics

Array = np.ndarray[Any, np.dtype[np.float64]]

FEW_CODEBOOKS = 4
"""Up to this many codebooks each get bars of their own; more share a heat map."""
FEW_CODES = 64
"""Codebooks up to this size show codes by number; larger ones, by rank of frequency."""
MAX_BINS = 40
"""Bars of the histogram of durations."""
LONG_TAIL = 20.0
"""Longest duration over the median from which on the axis of durations is logarithmic."""
WINDOW_SECONDS, HOP_SECONDS = 0.025, 0.01
"""Analysis window and step of the spectrograms."""
DYNAMIC_RANGE_DB = 75.0
"""Spectrograms show this much below the loudest point of the pair."""
QUIET_DB = 0.0
"""The scale of a pair ends no lower than this (a sine 40 dB below full scale), so silence looks silent."""
HEAT_RGB = (0.06, 0.55, 0.52)
"""Colour of the heat map; its strength is opacity, which suits light and dark pages."""


def plot_durations(durations: Array) -> Markup:
    """Return the histogram of `(rows,)` durations in seconds."""
    shortest, longest = float(durations.min()), float(durations.max())
    is_log = shortest > 0 and longest > LONG_TAIL * float(np.median(durations))
    bins = min(MAX_BINS, max(8, math.ceil(2 * len(durations) ** (1 / 3))))
    edges = (
        np.geomspace(shortest, longest, bins + 1)
        if is_log
        else np.linspace(math.floor(shortest), max(math.ceil(longest), math.floor(shortest) + 1), bins + 1)
    )
    with drawing(2.5) as (figure, (axes,)):
        axes.hist(durations, bins=edges.tolist(), color=ACCENT, rwidth=0.92)
        if is_log:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")
            axes.minorticks_off()
        axes.set_xlabel("seconds" + (", logarithmic" if is_log else ""))
        axes.set_ylabel("utterances")
        _few_ticks(axes.yaxis, 5, integer=True)
        axes.grid(axis="y", linewidth=0.6)
        return to_svg(
            figure,
            "durations",
            f"Histogram of the durations of {len(durations)} utterances, from {shortest:.2f} to {longest:.2f} seconds.",
        )


def plot_values(values: Sequence[float], label: str, name: str, of: str = "pairs") -> Markup:
    """Return the histogram of a measure, with a line at its mean.

    Args:
        values: finite, at least two.
        label: measure and unit.
        name: unique on the page.
        of: what the values are of, in the plural.
    """
    found = np.asarray(values, dtype=np.float64)
    bins = min(MAX_BINS, max(8, math.ceil(2 * len(found) ** (1 / 3))))
    with drawing(2.2) as (figure, (axes,)):
        axes.hist(found, bins=bins, color=ACCENT, rwidth=0.92)
        axes.axvline(float(found.mean()), color=CONTRAST, linestyle=(0, (4, 3)), linewidth=1.4)
        axes.set_xlabel(label)
        axes.set_ylabel(of)
        _few_ticks(axes.yaxis, 5, integer=True)
        axes.grid(axis="y", linewidth=0.6)
        return to_svg(
            figure,
            name,
            f"Histogram of {label} over {len(found)} {of}, from {found.min():.4g} to {found.max():.4g}.",
        )


def plot_curve(steps: Sequence[int], values: Sequence[float], label: str, name: str) -> Markup:
    """Return a quantity over training steps.

    Args:
        steps: of each point.
        values: of each point.
        label: quantity and unit.
        name: unique on the page.
    """
    with drawing(2.2, margins=True) as (figure, (axes,)):
        axes.plot(steps, values, color=ACCENT, linewidth=1.2, marker="." if len(steps) < 40 else "")
        axes.set_xlabel("step")
        _few_ticks(axes.xaxis, 6, integer=True)
        axes.grid(axis="y", linewidth=0.6)
        return to_svg(
            figure, name, f"{label} from step {steps[0]} ({values[0]:.4g}) to {steps[-1]} ({values[-1]:.4g})."
        )


def plot_quality(
    rates_bps: Sequence[float], values: Sequence[float | None], title: str, name: str
) -> Markup | None:
    """Return one measure of several tokenizers over their bit rates, each a numbered point.

    Args:
        rates_bps: bits per second of each tokenizer.
        values: its mean; points without one, or with an infinite one, are left out.
        title: of the measure.
        name: unique on the page.

    Returns:
        The picture, or None when there is no point.
    """
    points = [
        (rate, value, number)
        for number, (rate, value) in enumerate(zip(rates_bps, values, strict=True), start=1)
        if value is not None and math.isfinite(value)
    ]
    if not points:
        return None
    with drawing(2.4) as (figure, (axes,)):
        axes.scatter([point[0] for point in points], [point[1] for point in points], color=ACCENT, s=36)
        for rate, value, number in points:
            axes.annotate(str(number), (rate, value), xytext=(6, 5), textcoords="offset points")
        axes.set_xscale("log")
        axes.minorticks_off()
        axes.set_xticks(sorted({min(rates_bps), max(rates_bps)}))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.margins(0.15)
        axes.set_xlabel("bits per second")
        axes.grid(axis="y", linewidth=0.6)
        return to_svg(figure, name, f"{title} of {len(points)} tokenizers over their bit rates.")


def plot_usage(item: StreamStatistics, name: str) -> Markup:
    """Return how often each code of a stream occurs: bars for few codebooks, else a heat map."""
    share = item.counts / np.maximum(item.counts.sum(axis=1, keepdims=True), 1)  # (codebooks, codes)
    if share.shape[1] > FEW_CODES:
        share = -np.sort(-share, axis=1)
    if len(share) <= FEW_CODEBOOKS:
        return _plot_usage_bars(share, name)
    return _plot_usage_map(share, name)


def _code_label(codes: int) -> str:
    return "code" if codes <= FEW_CODES else "codes, most frequent first"


def _plot_usage_bars(share: Array, name: str) -> Markup:
    codebooks, codes = share.shape
    with drawing(0.7 + 1.3 * codebooks, rows=codebooks) as (figure, plots):
        for number, (axes, values) in enumerate(zip(plots, share, strict=True)):
            if codes <= FEW_CODES:
                axes.bar(np.arange(codes), 100 * values, color=ACCENT, width=0.85)
            else:
                axes.stairs(100 * values, fill=True, color=ACCENT)
                axes.axhline(100 / codes, color=CONTRAST, linestyle=(0, (4, 3)), linewidth=1.2)
            axes.set_xlim(-0.6, codes - 0.4)
            axes.set_ylabel("% of frames" if codebooks == 1 else f"codebook {number}, %")
            axes.grid(axis="y", linewidth=0.6)
            _few_ticks(axes.yaxis, 4)
        plots[-1].set_xlabel(_code_label(codes))
        return to_svg(figure, name, f"Share of frames of each of {codes} codes, for {codebooks} codebooks.")


def _plot_usage_map(share: Array, name: str) -> Markup:
    from matplotlib.colors import LinearSegmentedColormap

    codebooks, codes = share.shape
    heat = LinearSegmentedColormap.from_list("heat", [(*HEAT_RGB, 0.0), (*HEAT_RGB, 1.0)])
    is_tall = codebooks > codes  # the longer side lies flat
    labels = ("codebook", _code_label(codes)) if is_tall else (_code_label(codes), "codebook")
    top = max(float(np.quantile(share, 0.99)), 1e-9)
    with drawing(2.7) as (figure, (axes,)):
        axes.imshow(
            share.T if is_tall else share,
            aspect="auto",
            origin="lower" if is_tall else "upper",
            cmap=heat,
            vmin=0.0,
            vmax=top,
            interpolation="none",
        )
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        for axis in (axes.xaxis, axes.yaxis):
            _few_ticks(axis, 9, integer=True)
        scale = axes.inset_axes((1.03, 0.0, 0.03, 1.0))
        scale.imshow(
            np.linspace(0, 1, 64)[:, None],
            aspect="auto",
            origin="lower",
            cmap=heat,
            extent=(0, 1, 0, 100 * top),
            interpolation="none",
        )
        scale.set_xticks([])
        scale.yaxis.tick_right()
        scale.set_title("%", fontsize=10)
        return to_svg(
            figure,
            name,
            f"Heat map of the share of frames of {codes} codes in each of {codebooks} codebooks.",
        )


def plot_entropy(item: StreamStatistics, name: str) -> Markup:
    """Return the entropy of each codebook of a stream, against `log2(codebook_size)`."""
    entropy, bound = item.entropy, math.log2(item.stream.codebook_size)
    with drawing(2.3) as (figure, (axes,)):
        axes.bar(np.arange(len(entropy)), entropy, color=ACCENT, width=0.8)
        axes.axhline(bound, color=CONTRAST, linestyle=(0, (4, 3)), linewidth=1.4)
        axes.set_ylim(0, 1.12 * bound)
        axes.set_xlim(-0.6, len(entropy) - 0.4)
        _few_ticks(axes.xaxis, 9, integer=True)
        axes.set_xlabel("codebook")
        axes.set_ylabel("bits per code")
        axes.grid(axis="y", linewidth=0.6)
        return to_svg(
            figure,
            name,
            f"Entropy of {len(entropy)} codebooks, from {entropy.min():.2f} to {entropy.max():.2f} bits per code; "
            f"the bound is {bound:g}.",
        )


def spectrogram_db(samples: Array, sample_rate: int) -> Array:
    """Return the power spectrogram in dB, `(frequencies, frames)`, of `(samples,)`."""
    size, hop = round(WINDOW_SECONDS * sample_rate), round(HOP_SECONDS * sample_rate)
    padded = np.pad(samples, (size // 2, size - size // 2))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]  # (frames, size)
    power = np.abs(np.fft.rfft(frames * np.hanning(size), axis=1)) ** 2
    return np.asarray(10 * np.log10(power.T + 1e-12))


def plot_spectrogram(
    levels: Array, loudest: float, seconds: float, sample_rate: int, name: str, of: str
) -> Markup:
    """Return a spectrogram as a picture.

    Args:
        levels: `(frequencies, frames)`, dB, from `spectrogram_db`.
        loudest: dB that the scale ends at; the same for both of a pair.
        seconds: length of the audio.
        sample_rate: Hz.
        name: unique on the page.
        of: what the sound is, such as "original".
    """
    with drawing(1.9) as (figure, (axes,)):
        _draw_spectrogram(axes, levels, loudest, seconds, sample_rate)
        return to_svg(
            figure, name, f"Spectrogram of the {of}, {seconds:.1f} seconds, 0 to {sample_rate / 2000:g} kHz."
        )


def _draw_spectrogram(axes: Axes, levels: Array, loudest: float, seconds: float, sample_rate: int) -> None:
    axes.imshow(
        levels,
        aspect="auto",
        origin="lower",
        cmap="magma",
        vmin=loudest - DYNAMIC_RANGE_DB,
        vmax=loudest,
        extent=(0.0, seconds, 0.0, sample_rate / 2000),
        interpolation="antialiased",
    )
    axes.set_xlabel("seconds")
    axes.set_ylabel("kHz")
    _few_ticks(axes.yaxis, 4, integer=True)


def _few_ticks(axis: Axis, most: int, *, integer: bool = False) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=most, integer=integer))
