"""`speechtok train f0-vq`: train the pitch quantizer on one's own audio."""

from __future__ import annotations

from pathlib import Path

import click

from speechtok.cli import options
from speechtok.cli.printing import say
from speechtok.storage import AnyPath


@click.command("f0-vq")
@click.argument("corpus", type=options.EXISTING)
@options.units_folder
@click.option(
    "--steps",
    type=click.IntRange(1),
    default=400_000,
    show_default=True,
    help="Batches; the same command with more steps goes on from the last.",
)
@click.option("--seed", type=int, default=1369, show_default=True, help="Decides everything random.")
@options.verbose
def command(corpus: AnyPath, output: Path, steps: int, seed: int) -> None:
    """Train the pitch quantizer on the audio of CORPUS."""
    from speechtok.cli.progress import counting
    from speechtok.training.f0_vq import F0VqSettings, F0VqTraining
    from speechtok.training.plots import save_curves

    settings = F0VqSettings(steps=steps, seed=seed)
    training = F0VqTraining(corpus, output, settings)
    with counting("Training", settings.steps) as step:
        training.run(on_step=step)
    if not training.history:
        say(f"{output} already has {training.step} steps; ask for more with --steps.")
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
    say(
        f"Wrote step {training.step} to {training.folder}; squared error {first['reconstruction']:.3f} at first, "
        f"{last['reconstruction']:.3f} at last, {last['used']:.0f} codes in use, {last['entropy_bits']:.2f} bit."
    )
