"""Curves of a training run as a picture.

Contents: `save_curves`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path


def save_curves(path: Path, curves: Mapping[str, Sequence[float]]) -> None:
    """Write one panel per curve over steps, as PNG.

    Args:
        path: file to write.
        curves: title → value at each step.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(len(curves), 1, figsize=(7, 2.2 * len(curves)), squeeze=False)
    for panel, (title, values) in zip(panels[:, 0], curves.items(), strict=True):
        panel.plot(range(1, len(values) + 1), values, linewidth=0.8)
        panel.set_title(title, fontsize=9)
        panel.grid(alpha=0.3)
    panels[-1, 0].set_xlabel("step")
    figure.tight_layout()
    temporary = path.with_name(f".{path.name}.tmp")
    figure.savefig(temporary, format="png", dpi=110)
    pyplot.close(figure)
    temporary.replace(path)
