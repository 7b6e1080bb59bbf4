"""`speechtok train`: fit the parts of a unit tokenizer on one's own audio."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from speechtok.cli import options
from speechtok.storage import AnyPath


@click.command("train")
@click.argument("part", type=click.Choice(["kmeans", "f0-vq"]))
@click.argument("corpus", type=options.EXISTING)
@click.option(
    "--output",
    type=options.LOCAL,
    default="units",
    show_default=True,
    help="Folder that `load_tokenizer` takes; parts trained one after the other go into the same.",
)
@click.option(
    "--features",
    type=click.Choice(["logmel", "hubert", "wav2vec2", "cpc"]),
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
@click.option(
    "--steps",
    type=click.IntRange(1),
    default=400_000,
    show_default=True,
    help="Batches of the pitch quantizer; the same command with more steps goes on from the last.",
)
@click.option("--seed", type=int, default=1369, show_default=True, help="Decides everything random.")
@options.verbose
def command(part: str, corpus: AnyPath, output: Path, **arguments: Any) -> None:
    """Fit PART, k-means units or the pitch quantizer, on the audio of CORPUS."""
    if part == "kmeans":
        _kmeans(corpus, output, arguments)
    else:
        _f0_vq(corpus, output, arguments)


def _kmeans(corpus: AnyPath, output: Path, arguments: dict[str, Any]) -> None:
    from speechtok.cli.progress import counting
    from speechtok.training.minibatch_kmeans import KMeansSettings
    from speechtok.training.plots import save_curves
    from speechtok.training.units import train_kmeans

    settings = KMeansSettings(num_clusters=arguments["clusters"], seed=arguments["seed"])
    curve: list[float] = []
    with counting("Reading", None) as read:
        train_kmeans(
            corpus,
            output,
            features=arguments["features"],
            layer=arguments["layer"],
            checkpoint=arguments["checkpoint"],
            settings=settings,
            share=arguments["share"],
            max_frames=arguments["max_frames"],
            on_utterance=read,
            on_batch=lambda number, inertia: curve.append(inertia),
        )
    save_curves(output / "kmeans" / "training.png", {"mean squared distance to the nearest centre": curve})
    click.echo(
        f"Wrote {settings.num_clusters} units to {output} after {len(curve)} batches; "
        f"mean squared distance {curve[0]:.4g} at first, {curve[-1]:.4g} at last."
    )


def _f0_vq(corpus: AnyPath, output: Path, arguments: dict[str, Any]) -> None:
    from speechtok.cli.progress import counting
    from speechtok.training.f0_vq import F0VqSettings, F0VqTraining
    from speechtok.training.plots import save_curves

    settings = F0VqSettings(steps=arguments["steps"], seed=arguments["seed"])
    training = F0VqTraining(corpus, output, settings)
    with counting("Training", settings.steps) as step:
        training.run(on_step=step)
    if not training.history:
        click.echo(f"{output} already has {training.step} steps; ask for more with --steps.")
        return
    titles = {
        "reconstruction": "squared error of pitch",
        "commit": "commitment",
        "used": "codes used in a batch",
        "entropy_bits": "entropy of codes, bit",
    }
    curves = {title: [item[name] for item in training.history] for name, title in titles.items()}
    save_curves(training.folder / "training.png", curves)
    first, last = training.history[0], training.history[-1]
    click.echo(
        f"Wrote step {training.step} to {training.folder}; squared error {first['reconstruction']:.3f} at first, "
        f"{last['reconstruction']:.3f} at last, {last['used']:.0f} codes in use, {last['entropy_bits']:.2f} bit."
    )
