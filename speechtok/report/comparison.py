"""The page about a comparison: one table, quality over bit rate, and the same utterances from every tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speechtok.corpora.originals import corpus_folders, find_originals
from speechtok.loading import load_tokenizer
from speechtok.metrics.contender import Contender
from speechtok.metrics.measures import MEASURES
from speechtok.report.listening import Example, choose_rows, make_examples, wav_uri
from speechtok.report.plots import plot_quality
from speechtok.report.render import write_page
from speechtok.shards.reader import TokenDataset
from speechtok.storage import AnyPath
from speechtok.wording import number_text, rate_text


def write_comparison(
    contenders: Sequence[Contender],
    html: Path,
    *,
    names: Sequence[str],
    corpus: AnyPath,
    checkpoints: Mapping[str, Path] | None = None,
    speakers: Mapping[str, str] | None = None,
    examples: int = 4,
) -> None:
    """Write one self-contained HTML page about several tokenizers over one corpus.

    Args:
        contenders: what was found, in the order of `names`.
        html: the file to write or replace.
        names: what `load_tokenizer` takes for each.
        corpus: what all of them tokenized.
        checkpoints: folder with the published files, by name.
        speakers: voice of the decoder's table for all rows, by name.
        examples: utterances to listen to.

    Raises:
        OSError: when the page cannot be written.
    """
    measures = list(contenders[0].evaluation.summaries)
    listening = _listening(contenders, names, corpus, checkpoints or {}, speakers or {}, examples)
    plots = [
        {
            "title": MEASURES[name].title,
            "unit": MEASURES[name].unit,
            "better": MEASURES[name].better,
            "plot": plot_quality(
                [item.info.bitrate_bps for item in contenders],
                [item.evaluation.summaries[name].mean for item in contenders],
                MEASURES[name].title,
                f"quality-{name}",
            ),
        }
        for name in measures
    ]
    write_page(
        html,
        "comparison.html.j2",
        {
            "contenders": contenders,
            "seconds": contenders[0].evaluation.seconds,
            "rows": len(contenders[0].evaluation.rows),
            "table": [*_figures(contenders), *(_line(name, contenders) for name in measures)],
            "plots": [item for item in plots if item["plot"]],
            "listening": listening,
        },
    )


def _figures(contenders: Sequence[Contender]) -> list[dict[str, Any]]:
    """Return the lines of the table that are no measures."""

    def line(title: str, better: str, values: list[Any], text: Any) -> dict[str, Any]:
        return {"title": title, "better": better, "cells": _cells(values, better, text)}

    return [
        line("Bits per second", "lower", [item.info.bitrate_bps for item in contenders], rate_text),
        line("Bits per second by entropy", "lower", [item.entropy_bps for item in contenders], rate_text),
        line("Bits per second on disk", "lower", [item.stored_bps for item in contenders], rate_text),
        line("Tokenizing, × real time", "higher", [item.encode_speed for item in contenders], number_text),
        line("Decoding, × real time", "higher", [item.decode_speed for item in contenders], number_text),
        line("Utterances that failed", "lower", [item.failed for item in contenders], str),
    ]


def _line(name: str, contenders: Sequence[Contender]) -> dict[str, Any]:
    item = MEASURES[name]
    values = [contender.evaluation.summaries[name].mean for contender in contenders]
    title = f"{item.title}, {item.unit}" if item.unit else item.title
    return {"title": title, "better": item.better, "cells": _cells(values, item.better, number_text)}


def _cells(values: Sequence[float | None], better: str, text: Any) -> list[dict[str, Any]]:
    known = [value for value in values if value is not None]
    best = (max(known) if better == "higher" else min(known)) if known else None
    return [
        {"text": "–" if value is None else text(value), "is_best": value is not None and value == best}
        for value in values
    ]


def _listening(
    contenders: Sequence[Contender],
    names: Sequence[str],
    corpus: AnyPath,
    checkpoints: Mapping[str, Path],
    speakers: Mapping[str, str],
    count: int,
) -> list[dict[str, Any]]:
    """Return utterances that every tokenizer has a row for, with all their sounds."""
    if not count:
        return []
    datasets = [TokenDataset(item.dataset) for item in contenders]
    places = [{row["id"]: index for index, row in enumerate(data)} for data in datasets]
    shared = [index for name, index in places[0].items() if all(name in place for place in places)]
    samples = datasets[0].column("num_samples").to_numpy()
    lengths = samples[shared] / datasets[0].info.sample_rate
    if not len(lengths):
        return []
    ids = [datasets[0][shared[place]]["id"] for place in choose_rows(lengths, count)]
    root, folders = corpus_folders(corpus)
    by_tokenizer: list[list[Example]] = []
    for contender, dataset, place, name in zip(contenders, datasets, places, names, strict=True):
        loaded = load_tokenizer(name, checkpoint=checkpoints.get(name))
        originals = find_originals(contender.dataset, root, folders)
        voice = loaded.find_voice(speakers[name]) if name in speakers else None
        chosen = [place[item] for item in ids]
        by_tokenizer.append(list(make_examples(dataset, chosen, loaded, originals, voice=voice)))
    return [_shown(examples, contenders) for examples in zip(*by_tokenizer, strict=True)]


def _shown(examples: Sequence[Example], contenders: Sequence[Contender]) -> dict[str, Any]:
    first = examples[0]
    sounds = [
        {"name": contender.info.name, "uri": wav_uri(example.reconstruction, example.sample_rate)}
        for example, contender in zip(examples, contenders, strict=True)
    ]
    if first.original is not None:
        sounds.insert(0, {"name": "original", "uri": wav_uri(first.original, first.sample_rate)})
    return {"id": first.id, "text": first.text, "seconds": first.seconds, "sounds": sounds}
