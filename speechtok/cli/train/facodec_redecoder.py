"""`speechtok train facodec-redecoder`: train the network that speaks content in any voice."""

from __future__ import annotations

from pathlib import Path

import click

from speechtok.cli import options
from speechtok.cli.train.running import from_tokens, report, running, watching
from speechtok.storage import AnyPath


@click.command("facodec-redecoder")
@click.argument("source", type=options.EXISTING)
@click.argument("output", type=options.LOCAL_FOLDER)
@running
@from_tokens
@options.verbose
def command(
    source: AnyPath,
    output: Path,
    recipe: str | None,
    changes: tuple[str, ...],
    device: str,
    tokenizer: str | None,
    checkpoint: AnyPath | None,
    corpus_root: AnyPath | None,
) -> None:
    """Train a redecoder for the codec that made SOURCE, and write the run into the folder OUTPUT, or finish what was begun there.

    SOURCE is a token dataset of FAcodec at 24 kHz. The model is that codec, with the redecoder.
    """
    from speechtok.training.facodec_24k.redecoder import train_facodec_redecoder
    from speechtok.training.facodec_24k.settings import RedecoderSettings
    from speechtok.training.settings import read_training_recipe

    settings = read_training_recipe(RedecoderSettings, recipe, changes)
    with watching(settings.loop.steps) as watcher:
        history = train_facodec_redecoder(
            str(source),
            output,
            settings,
            tokenizer=tokenizer,
            checkpoint=checkpoint,
            corpus_root=corpus_root,
            device=device,
            watcher=watcher,
        )
    report(output, history)
