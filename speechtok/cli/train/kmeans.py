"""`speechtok train kmeans`: fit content units on one's own audio."""

from __future__ import annotations

from pathlib import Path

import click

from speechtok.cli import options
from speechtok.cli.printing import say
from speechtok.storage import AnyPath


@click.command("kmeans")
@click.argument("corpus", type=options.EXISTING)
@options.units_folder
@click.option(
    "--features",
    type=click.Choice(["logmel", "hubert", "wav2vec2", "wavlm", "data2vec", "cpc"]),
    default="logmel",
    show_default=True,
    help="Features that units are fitted on.",
)
@click.option("--layer", type=click.IntRange(1), default=6, show_default=True, help="Layer that is read.")
@options.checkpoint
@click.option("--clusters", type=click.IntRange(2), default=100, show_default=True, help="Number of units.")
@click.option(
    "--share",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="Part of the utterances that units are fitted on.",
)
@click.option(
    "--max-frames",
    type=click.IntRange(100),
    default=1_000_000,
    show_default=True,
    help="Frames kept in memory for fitting, a uniform sample of all.",
)
@click.option("--seed", type=int, default=1369, show_default=True, help="Decides everything random.")
@options.verbose
def command(
    corpus: AnyPath,
    output: Path,
    features: str,
    layer: int,
    checkpoint: AnyPath | None,
    clusters: int,
    share: float,
    max_frames: int,
    seed: int,
) -> None:
    """Fit k-means units on the audio of CORPUS."""
    from speechtok.cli.progress import counting
    from speechtok.training.minibatch_kmeans import KMeansSettings
    from speechtok.training.plots import save_curves
    from speechtok.training.units import train_kmeans

    settings = KMeansSettings(num_clusters=clusters, seed=seed)
    curve: list[float] = []
    with counting("Reading", None) as read:
        train_kmeans(
            corpus,
            output,
            features=features,
            layer=layer,
            checkpoint=checkpoint,
            settings=settings,
            share=share,
            max_frames=max_frames,
            on_utterance=read,
            on_batch=lambda number, inertia: curve.append(inertia),
        )
    save_curves(output / "kmeans" / "training.png", {"mean squared distance to the nearest centre": curve})
    say(
        f"Wrote {settings.num_clusters} units to {output} after {len(curve)} batches; "
        f"mean squared distance {curve[0]:.4g} at first, {curve[-1]:.4g} at last."
    )
