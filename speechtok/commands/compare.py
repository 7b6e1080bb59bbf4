"""Several tokenizers over one corpus: each makes a token dataset, which is then evaluated."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speechtok.commands.evaluate import EvaluationSettings, OnRow, evaluate_dataset
from speechtok.commands.tokenize import tokenize_corpus
from speechtok.corpora import read_corpus
from speechtok.corpora.originals import corpus_folders, read_run
from speechtok.engine.settings import RunSettings
from speechtok.errors import DatasetError
from speechtok.loading import load_tokenizer, locate_files
from speechtok.metrics.contender import Contender
from speechtok.metrics.evaluation import Evaluation
from speechtok.shards.layout import Layout
from speechtok.shards.reader import TokenDataset
from speechtok.storage import AnyPath, join, replacing


def compare_tokenizers(
    names: Sequence[str],
    corpus: AnyPath,
    folder: Path,
    *,
    checkpoints: Mapping[str, Path] | None = None,
    speakers: Mapping[str, str] | None = None,
    limit: int | None = None,
    settings: EvaluationSettings | None = None,
    on_row: OnRow | None = None,
) -> list[Contender]:
    """Tokenize the same utterances with each tokenizer, decode them and measure what comes out.

    Datasets are kept in `folder`, one below the name of each tokenizer; the same call again goes on from
    there. `comparison.json` beside them holds all figures. Each tokenizer runs alone, in this process.

    Args:
        names: tokenizers, as for `load_tokenizer`.
        corpus: see `speechtok.corpora.read_corpus`.
        folder: where datasets and figures go.
        checkpoints: folder with the published files, by name.
        speakers: voice of the decoder's table for all rows, by name; without one, each row has its own speaker's.
        limit: at most this many utterances, spread evenly over the corpus; None takes all.
        settings: what is measured.
        on_row: called with each row as it is measured.

    Raises:
        ValueError: for fewer than two tokenizers or one twice, a measure that cannot be computed here, or a
            voice that a decoder does not have, before anything is tokenized.
        CardError, CheckpointError, HubError: when a tokenizer cannot be loaded, before anything is tokenized.
        DatasetError, JobError: see `tokenize_corpus` and `evaluate_dataset`.
    """
    checkpoints, speakers, settings = checkpoints or {}, speakers or {}, settings or EvaluationSettings()
    _check(names, {"checkpoint": checkpoints, "speaker": speakers})
    settings.names()
    for name, voice in speakers.items():
        load_tokenizer(name, checkpoint=checkpoints.get(name)).find_voice(voice)
    cards = {name: locate_files(name, checkpoint=checkpoints.get(name))[0].name for name in names}
    folder.mkdir(parents=True, exist_ok=True)
    chosen = corpus if limit is None else _selection(corpus, folder / "corpus.jsonl", limit)
    root, folders = corpus_folders(corpus)
    run = RunSettings(device=settings.device, workers=1)
    contenders = []
    for name in names:
        output, checkpoint = folder / cards[name], checkpoints.get(name)
        report = tokenize_corpus(chosen, output, tokenizer=name, checkpoint=checkpoint, run=run)
        evaluation = evaluate_dataset(
            output,
            corpus_root=root,
            folders=folders,
            tokenizer=name,
            checkpoint=checkpoint,
            speaker=speakers.get(name),
            settings=settings,
            on_row=on_row,
        )
        contenders.append(_contender(output, evaluation, report.quarantined))
    _write_figures(folder, contenders)
    return contenders


def _contender(dataset: Path, evaluation: Evaluation, failed: int) -> Contender:
    speed = read_run(Layout(dataset)).get("made", {}).get("times_real_time")
    return Contender(
        info=TokenDataset(dataset).info,
        dataset=dataset,
        evaluation=evaluation,
        encode_speed=float(speed) if isinstance(speed, int | float) and speed else None,
        failed=failed,
    )


def _check(names: Sequence[str], given: Mapping[str, Mapping[str, Any]]) -> None:
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(
            f"A comparison needs two tokenizers or more, each once, got {', '.join(names) or 'none'}."
        )
    for what, values in given.items():
        for name in values:
            if name not in names:
                raise ValueError(
                    f"There is a {what} for '{name}', which is not compared: {', '.join(names)}."
                )


def _write_figures(folder: Path, contenders: Sequence[Contender]) -> None:
    figures = json.dumps([item.to_dict() for item in contenders], indent=1, ensure_ascii=False)
    with replacing(folder / "comparison.json", folder) as temporary:
        temporary.write_text(figures + "\n", encoding="utf-8")


def _selection(corpus: AnyPath, manifest: Path, limit: int) -> Path:
    """Write a manifest of utterances spread evenly over a corpus.

    Raises:
        DatasetError: when an earlier comparison in the same folder chose others.
    """
    found = read_corpus(corpus)
    utterances = sorted(found.utterances, key=lambda item: item.id)
    count = min(limit, len(utterances))
    rows = []
    for place in range(count):
        item = utterances[math.floor((place + 0.5) * len(utterances) / count)]
        row: dict[str, Any] = {
            "id": item.id,
            "audio": str(join(found.root.resolve(), item.audio)),
            "text": item.text,
            "speaker": item.speaker,
            "language": item.language,
        }
        if item.start or item.segment_seconds is not None:
            row |= {"start": item.start, "duration": item.segment_seconds}
        rows.append(json.dumps(row, ensure_ascii=False))
    text = "\n".join(rows) + "\n"
    if manifest.is_file() and manifest.read_text(encoding="utf-8") != text:
        raise DatasetError(
            f"{manifest.parent} holds a comparison over other utterances; use another folder, or the same corpus and limit."
        )
    with replacing(manifest, manifest.parent) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return manifest
