"""The report: one HTML page about a token dataset, complete in itself."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from speechtok.corpora.originals import find_originals, read_run
from speechtok.errors import CardError, CheckpointError, HubError, TokensError
from speechtok.loading import load_for_dataset
from speechtok.report.aligned import draw_alignment
from speechtok.report.annotations import describe_annotations
from speechtok.report.listening import Example, choose_rows, make_examples, wav_uri
from speechtok.report.plots import (
    FEW_CODEBOOKS,
    FEW_CODES,
    QUIET_DB,
    plot_durations,
    plot_entropy,
    plot_spectrogram,
    plot_usage,
    spectrogram_db,
)
from speechtok.report.render import write_page
from speechtok.report.tables import group_rows, read_failures
from speechtok.shards.layout import Layout
from speechtok.shards.reader import TokenDataset
from speechtok.shards.statistics import Statistics, StreamStatistics, compute_statistics
from speechtok.storage import AnyPath


def write_report(
    dataset: AnyPath,
    html: Path,
    *,
    corpus_root: AnyPath | None = None,
    examples: int = 4,
    tokenizer: str | None = None,
    checkpoint: str | AnyPath | None = None,
    allow_partial: bool = False,
) -> None:
    """Write one self-contained HTML page about a token dataset.

    The page holds the key figures, a few rows to listen to (original beside reconstruction), durations,
    code usage and entropy, tables by split, speaker and language, and the quarantine. The same dataset
    gives the same page. Where the tokenizer cannot be loaded, the page says so and goes without sound.

    Args:
        dataset: a token dataset, or one Parquet file of tokens.
        html: the file to write or replace, under a temporary name first; its folder is made if need be.
        corpus_root: folder that the recordings' paths start from, and below which alone they are opened; without it
            the page has no originals and says how to hear them.
        examples: rows to listen to, at least 0, each at most 15 s.
        tokenizer: name, card path or folder for `load_tokenizer`; None takes the name in the dataset.
        checkpoint: local folder with the tokenizer's published files.
        allow_partial: take what is there of an unfinished dataset.

    Raises:
        ValueError: when `examples` is negative.
        DatasetError: when there is no token dataset, or it is damaged or unfinished.
        OSError: when the page cannot be written.
    """
    if examples < 0:
        raise ValueError(f"`examples` must be at least 0, got {examples}.")
    rows = TokenDataset(dataset, allow_partial=allow_partial)
    write_page(Path(html), "page.html.j2", _content(rows, corpus_root, examples, tokenizer, checkpoint))


def _content(
    rows: TokenDataset,
    corpus_root: AnyPath | None,
    examples: int,
    tokenizer: str | None,
    checkpoint: str | AnyPath | None,
) -> dict[str, Any]:
    """Return everything the template needs."""
    path, partial = rows.path, rows.allow_partial
    statistics = compute_statistics(path, allow_partial=partial)
    played, silence = _listening(path, rows, statistics, corpus_root, examples, tokenizer, checkpoint)
    return {
        "title": path.resolve().name,
        "info": rows.info,
        "description": rows.card.get("description"),
        "citation": rows.card.get("citation"),
        "statistics": statistics,
        "num_speakers": len(statistics.speakers),
        "num_languages": len(statistics.languages),
        "code_bps": _code_bps(statistics),
        "examples": [_shown(number, example) for number, example in enumerate(played)],
        "silence": silence,
        "durations": plot_durations(statistics.durations) if statistics.rows else None,
        "streams": [_stream(number, item) for number, item in enumerate(statistics.streams)],
        "groups": group_rows(path, statistics, allow_partial=partial),
        "annotations": describe_annotations(rows),
        "failures": read_failures(path),
        "run": _made(path),
    }


def _made(path: AnyPath) -> dict[str, float]:
    """Return the figures of the last run, as far as they can be read."""
    made = read_run(Layout(path)).get("made")
    figures = made.items() if isinstance(made, dict) else ()
    return {name: value for name, value in figures if isinstance(value, int | float) and 0 <= value < 1e15}


def _listening(
    path: AnyPath,
    rows: TokenDataset,
    statistics: Statistics,
    corpus_root: AnyPath | None,
    examples: int,
    tokenizer: str | None,
    checkpoint: str | AnyPath | None,
) -> tuple[list[Example], str | None]:
    """Return the rows to listen to, or none and a sentence why."""
    chosen = choose_rows(statistics.durations, examples) if examples and statistics.rows else []
    if not chosen:
        return [], "No rows were asked for." if statistics.rows else "The dataset has no rows."
    originals = find_originals(path, corpus_root)
    try:
        loaded = load_for_dataset(path, rows.info.name, tokenizer=tokenizer, checkpoint=checkpoint)
        return list(make_examples(rows, chosen, loaded, originals)), None
    except (CardError, CheckpointError, HubError, TokensError) as error:
        return [], f"The tokens could not be turned back into speech. {error}"


def _shown(number: int, example: Example) -> dict[str, Any]:
    """Return one example with its pictures and sounds, on one scale of level for the pair."""
    sounds = {"original": example.original, "reconstruction": example.reconstruction}
    levels = {
        of: spectrogram_db(samples, example.sample_rate)
        for of, samples in sounds.items()
        if samples is not None
    }
    loudest = max(QUIET_DB, *(float(values.max()) for values in levels.values()))
    heard = example.reconstruction if example.original is None else example.original
    return {
        "example": example,
        "aligned": (
            draw_alignment(heard, example.sample_rate, example.words, example.phones)
            if example.words or example.phones
            else None
        ),
        "sounds": [
            {
                "name": of,
                "uri": wav_uri(samples, example.sample_rate),
                "picture": plot_spectrogram(
                    levels[of], loudest, example.seconds, example.sample_rate, f"sound-{number}-{of}", of
                ),
            }
            for of, samples in sounds.items()
            if samples is not None
        ],
    }


def _stream(number: int, item: StreamStatistics) -> dict[str, Any]:
    """Return one stream's figures and numbers."""
    return {
        "item": item,
        "info": item.stream,
        "bound_bits": math.log2(item.stream.codebook_size),
        "entropy": float(item.entropy.mean()),
        "lowest_entropy": float(item.entropy.min()),
        "highest_entropy": float(item.entropy.max()),
        "used": float(item.used.mean()),
        "usage_plot": plot_usage(item, f"usage-{number}") if item.num_codes else None,
        "entropy_plot": (
            plot_entropy(item, f"entropy-{number}")
            if item.num_codes and item.stream.num_codebooks > FEW_CODEBOOKS
            else None
        ),
        "is_ranked": item.stream.codebook_size > FEW_CODES,
    }


def _code_bps(statistics: Statistics) -> float:
    """Return the bits that one second's codes take on disk, without the other columns."""
    stored = sum(item.stored_bytes for item in statistics.streams)
    return 8 * stored / statistics.seconds if statistics.seconds else 0.0
