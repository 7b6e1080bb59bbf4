"""`speechtok compare`: several tokenizers over one corpus."""

from __future__ import annotations

from pathlib import Path

import click

from speechtok.cli.options import EXISTING, LOCAL_FOLDER, device, measuring, verbose
from speechtok.cli.printing import say
from speechtok.storage import AnyPath


def _by_tokenizer(
    context: click.Context, parameter: click.Parameter, value: tuple[str, ...]
) -> dict[str, str]:
    """Return what was given for each tokenizer."""
    example = "facodec=weights" if parameter.name == "checkpoints" else "run/model=anna"
    found = {}
    for item in value:
        name, equals, given = item.partition("=")
        if not equals or not given:
            raise click.BadParameter(
                f"'{item}' must be {parameter.metavar}, such as {example}.", context, parameter
            )
        found[name] = given
    return found


def _checkpoints(
    context: click.Context, parameter: click.Parameter, value: tuple[str, ...]
) -> dict[str, Path]:
    found = {name: Path(folder) for name, folder in _by_tokenizer(context, parameter, value).items()}
    for folder in found.values():
        if not folder.exists():
            raise click.BadParameter(f"there is no folder '{folder}'.", context, parameter)
    return found


@click.command("compare")
@click.argument("tokenizers", nargs=-1, required=True, metavar="TOKENIZERS...")
@click.option("--corpus", type=EXISTING, required=True, help="Audio that all of them tokenize.")
@click.option(
    "--output",
    type=LOCAL_FOLDER,
    default="comparison",
    show_default=True,
    help="Folder of the page, the figures and the token datasets.",
)
@click.option(
    "--limit", type=click.IntRange(min=1), help="At most this many utterances, spread over the corpus."
)
@click.option(
    "--checkpoint",
    "checkpoints",
    multiple=True,
    metavar="NAME=FOLDER",
    callback=_checkpoints,
    help="Folder with the published files of one tokenizer; may be given several times.",
)
@click.option(
    "--speaker",
    "speakers",
    multiple=True,
    metavar="NAME=VOICE",
    callback=_by_tokenizer,
    help="Voice of one tokenizer's table, where the corpus does not name speakers that it has.",
)
@measuring
@click.option(
    "--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes that measure."
)
@click.option(
    "--examples",
    type=click.IntRange(min=0),
    default=4,
    show_default=True,
    help="Utterances to listen to on the page.",
)
@device
@verbose
def command(
    tokenizers: tuple[str, ...],
    corpus: AnyPath,
    output: Path,
    limit: int | None,
    checkpoints: dict[str, Path],
    speakers: dict[str, str],
    measures: tuple[str, ...],
    asr: str | None,
    speaker_model: str | None,
    workers: int,
    examples: int,
    device: str,
) -> None:
    """Tokenize and decode one corpus with each of TOKENIZERS, and write one page of rate, quality, speed and sound."""
    from speechtok.cli.progress import counting
    from speechtok.commands.compare import compare_tokenizers
    from speechtok.commands.evaluate import EvaluationSettings
    from speechtok.report.comparison import write_comparison
    from speechtok.wording import count_text, number_text, rate_text

    settings = EvaluationSettings(
        measures=measures or None, asr=asr, speaker_model=speaker_model, device=device, workers=workers
    )
    with counting("Comparing", None) as step:
        found = compare_tokenizers(
            tokenizers,
            corpus,
            output,
            checkpoints=checkpoints,
            speakers=speakers,
            limit=limit,
            settings=settings,
            on_row=step,
        )
    for item in found:
        means = ", ".join(
            f"{name} {number_text(summary.mean)}" for name, summary in item.evaluation.summaries.items()
        )
        say(
            f"{item.info.name}: {rate_text(item.info.bitrate_bps)}, tokenized at {number_text(item.encode_speed)} and decoded at "
            f"{number_text(item.decode_speed)} × real time; {means}"
        )
    page = output / "index.html"
    write_comparison(
        found,
        page,
        names=tokenizers,
        corpus=corpus,
        checkpoints=checkpoints,
        speakers=speakers,
        examples=examples,
    )
    say(f"Compared {count_text(len(found), 'tokenizer')}; wrote the page to {page}.")
