"""Alignment: where each phone and word of a row lies, in seconds and in frames of its tokens.

Conventions: phones tile the row: each begins where the one before ends, the first at 0, the last ends with the audio, and silence is a phone of its
own. `phone_frames_<stream>` counts the frames of each phone: boundaries go to the nearest edge between frames, halves to the later, and the
last is the end of the last frame, so the counts sum to the frames of the stream exactly; a phone shorter than a frame may have none.

Contents: `Alignment`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from speechtok.annotations import sphinx
from speechtok.annotations.aligned import Aligned
from speechtok.annotations.alignment_files import AlignmentFiles, read_alignment_files
from speechtok.annotations.base import LOCAL, Annotation, Need, Row
from speechtok.annotations.language import check_language
from speechtok.annotations.lexicon import Lexicon, cmudict_path, read_lexicon
from speechtok.annotations.packages import check_packages
from speechtok.errors import AnnotationError, DatasetError
from speechtok.formats.intervals import SILENT_PHONES, SILENT_WORDS, Interval, frame_counts, tile
from speechtok.shards.annotated import Column
from speechtok.storage import as_path, file_sha256
from speechtok.tokens import StreamInfo

if TYPE_CHECKING:
    from speechtok.annotations.ctc import CtcModel

UNKNOWN_WORD = "spn"
"""Phone by which the Montreal Forced Aligner marks a word outside its lexicon."""
_SOURCES = {
    "pocketsphinx": "pocketsphinx, two passes of forced alignment",
    "ctc": "CTC segmentation, arXiv:2007.09127",
    "files": "alignments that were given",
}


@dataclass(frozen=True, kw_only=True)
class Alignment(Annotation):
    """Phones and words with their times, by an aligner or from files."""

    name, version = "alignment", 1

    aligner: Literal["pocketsphinx", "ctc", "files"] = "pocketsphinx"
    """What aligns: pocketsphinx for English, a CTC model of transformers (`checkpoint`), or nothing, where files have it already (`folder`)."""
    checkpoint: str | None = field(default=None, metadata=LOCAL)
    """Folder of the CTC model, with its weights as safetensors."""
    folder: str | None = field(default=None, metadata=LOCAL)
    """Folder of TextGrid or CTM files, or a manifest of lhotse or of NeMo's aligner."""
    lexicon: str | None = field(default=None, metadata=LOCAL)
    """Lexicon with further words for pocketsphinx, or with the phones that files may have."""
    symbols: Literal["phones", "characters"] = "phones"
    """What the CTC model writes; phones are those of the column `phones`."""
    unit: Literal["phones", "words"] = "phones"
    """What gets durations; with words, phones are left out."""
    silence: str = "SIL"
    """Symbol of silence among the phones."""
    tolerance_seconds: float = 0.1
    """How far files may differ from the row in length."""
    max_seconds: float = 120.0
    """Longest row that an aligner takes; a minute takes pocketsphinx some 0.4 GB."""
    min_score: float = sphinx.MISFIT
    """Mean score that pocketsphinx must give the frames of words for the text to be that of the audio."""

    def __post_init__(self) -> None:
        for name, aligner in (("checkpoint", "ctc"), ("folder", "files")):
            if self.aligner != aligner and getattr(self, name) is not None:
                raise ValueError(f"`{name}` goes with the aligner {aligner}, not with {self.aligner}.")
        if self.lexicon is not None and self.aligner == "ctc":
            raise ValueError("`lexicon` goes with the aligners pocketsphinx and files, not with ctc.")
        if not self.silence or self.silence != self.silence.strip():
            raise ValueError(f"`silence` must be a symbol, got {self.silence!r}.")
        if not self.max_seconds > 0:
            raise ValueError(f"`max_seconds` must be above 0, got {self.max_seconds:g}.")
        if not self.tolerance_seconds >= 0:
            raise ValueError(f"`tolerance_seconds` must be at least 0, got {self.tolerance_seconds:g}.")

    @property
    def needs(self) -> frozenset[Need]:
        if self.aligner == "files":
            return frozenset({"tokens"})
        if self.aligner == "ctc" and self.symbols == "phones":
            return frozenset({"tokens", "audio"})
        return frozenset({"tokens", "audio", "text"})

    @property
    def requires(self) -> tuple[str, ...]:
        return ("phones",) if self.aligner == "ctc" and self.symbols == "phones" else ()

    @property
    def uses(self) -> tuple[str, ...]:
        return () if self.aligner == "files" else ("text_normalized", "language")

    def columns(self, streams: Sequence[StreamInfo]) -> tuple[Column, ...]:
        source = _SOURCES[self.aligner]
        unit = self.unit.removesuffix("s")
        frames = [
            Column(
                name=f"{unit}_frames_{_column(stream.name)}",
                type="list<int32>",
                description=f"frames of each {unit} in the stream {stream.name}; they sum to its frames",
                source=source,
            )
            for stream in streams
        ]
        tiers = ("phone", "word") if self.unit == "phones" else ("word",)
        lists = [column for tier in tiers for column in _times(tier, source)]
        if len({column.name for column in (*lists, *frames)}) < len(lists) + len(frames):
            raise AnnotationError("Two streams have names that differ only in case and signs; rename one.")
        return (*lists, *frames)

    def files(self) -> Mapping[str, str]:
        found: dict[str, str] = {}
        if self.lexicon is not None:
            read_lexicon(self.lexicon)
            found["lexicon"] = file_sha256(as_path(self.lexicon))
        if self.aligner == "files":
            return {**found, "alignments": self._given.sha256}
        if self.aligner == "pocketsphinx":
            check_packages(self.name, ("pocketsphinx",), "align")
            return {**found, **sphinx.model_files()}
        check_packages(self.name, ("transformers",), "transformers")
        folder = Path(self._checkpoint)
        places = [*sorted(folder.glob("*.safetensors")), *sorted(folder.glob("*.json"))]
        _ = self._model
        return {place.name: file_sha256(place) for place in places}

    def facts(self) -> Mapping[str, Any]:
        rule = "boundaries go to the nearest edge between frames, halves to the later; the last is the end of the last frame"
        if self.unit == "words":
            return {"silence": self.silence, "rounding": rule}
        return {"silence": self.silence, "rounding": rule, "phone_set": [self.silence, *self._phone_set()]}

    def __call__(self, row: Row) -> Mapping[str, Any]:
        found = self._aligned(row)
        source = f"{found.source}: " if found.source else ""
        try:
            self._check_length(found, row)
            words = self._tiled(found.words, row, SILENT_WORDS)
            phones = self._tiled(found.phones, row, SILENT_PHONES) if self.unit == "phones" else None
        except DatasetError as error:
            raise AnnotationError(f"{source}{error}; it is of another recording, or damaged.") from error
        tiled = phones if self.unit == "phones" else words
        if tiled is None:
            other = "words" if self.unit == "phones" else "phones"
            raise AnnotationError(
                f"{source}There are no {self.unit}; align again, or set alignment.unit={other}."
            )
        self._check_phones(phones or (), source)
        spoken = None if words is None else [item for item in words if item.label != self.silence]
        values = _listed("word", spoken) if self.unit == "phones" else _listed("word", words)
        return values | (_listed("phone", phones) if self.unit == "phones" else {}) | self._frames(tiled, row)

    def _aligned(self, row: Row) -> Aligned:
        """Return what the aligner or the files have of a row."""
        if self.aligner == "files":
            return self._given.of(row.id)
        if row.duration > self.max_seconds:
            raise AnnotationError(
                f"The row is {row.duration:g} s long, and only those of up to {self.max_seconds:g} s are aligned; segment recordings with "
                "`speechtok tokenize --segment vad`, or raise alignment.max_seconds."
            )
        text = row.columns.get("text_normalized") or row.text or ""
        if self.aligner == "pocketsphinx":
            check_language(row.columns.get("language"), "en", "pocketsphinx's model")
            words = self._words.split(text)
            return sphinx.align(row.at(sphinx.RATE), words, self._words.words, min_score=self.min_score)
        waveform = row.at(self._model.extractor.sampling_rate)
        if self.symbols == "characters":
            return self._model.align_text(waveform, text)
        phones = row.columns["phones"]
        if not phones:
            raise AnnotationError("The row has no phones.")
        return self._model.align_phones(waveform, phones.split() if isinstance(phones, str) else phones)

    def _check_length(self, found: Aligned, row: Row) -> None:
        if found.seconds is not None and abs(found.seconds - row.duration) > self.tolerance_seconds:
            raise DatasetError(f"it is {found.seconds:g} s long, but the audio {row.duration:g} s")

    def _tiled(
        self, intervals: Sequence[Interval] | None, row: Row, silences: frozenset[str]
    ) -> list[Interval] | None:
        if intervals is None:
            return None
        return tile(
            intervals,
            row.duration,
            silence=self.silence,
            silences=silences,
            tolerance_seconds=self.tolerance_seconds,
        )

    def _check_phones(self, phones: Sequence[Interval], source: str) -> None:
        known = self._lexicon.phone_set if self.aligner == "files" and self._lexicon else None
        for item in phones:
            if item.label == UNKNOWN_WORD and (known is None or UNKNOWN_WORD not in known):
                raise AnnotationError(
                    f"{source}A word from {item.start:g} to {item.end:g} s is outside the aligner's lexicon (spn); add it there and align again."
                )
            if known is not None and item.label not in (self.silence, *known):
                raise AnnotationError(
                    f"{source}The phone {item.label!r} is not in the lexicon, which has {' '.join(known)[:200]}; give the one that was aligned with."
                )

    def _frames(self, tiled: Sequence[Interval], row: Row) -> dict[str, list[int]]:
        unit, ends = self.unit.removesuffix("s"), [item.end for item in tiled]
        return {
            f"{unit}_frames_{_column(stream.name)}": frame_counts(
                ends, row.num_frames[stream.name], stream.frame_rate
            )
            for stream in row.streams
        }

    def _phone_set(self) -> list[str]:
        if self.aligner == "pocketsphinx":
            return list(sphinx.PHONES)
        if self.aligner == "ctc":
            return [symbol for symbol in self._model.symbols if symbol != self.silence]
        found = self._lexicon.phone_set if self._lexicon else sorted(self._given.phones)
        return [phone for phone in found if phone not in (SILENT_PHONES | {self.silence, UNKNOWN_WORD})]

    @property
    def _lexicon(self) -> Lexicon | None:
        return None if self.lexicon is None else read_lexicon(self.lexicon)

    @property
    def _words(self) -> Lexicon:
        """Words that can be aligned: those of the package, and of the lexicon what it lacks."""
        return read_lexicon(*([] if self.lexicon is None else [self.lexicon]), str(cmudict_path()))

    @property
    def _given(self) -> AlignmentFiles:
        if self.folder is None:
            raise AnnotationError("The aligner 'files' needs a folder: --set alignment.folder=FOLDER.")
        return read_alignment_files(self.folder)

    @property
    def _checkpoint(self) -> str:
        if self.checkpoint is None:
            raise AnnotationError("The aligner 'ctc' needs a model: --set alignment.checkpoint=FOLDER.")
        return self.checkpoint

    @property
    def _model(self) -> CtcModel:
        from speechtok.annotations.ctc import load_model

        return load_model(self._checkpoint)


def _column(stream: str) -> str:
    """Return the name of a stream as part of a column's name."""
    return re.sub(r"[^a-z0-9]", "_", stream.lower())


def _times(tier: str, source: str) -> tuple[Column, ...]:
    what = "phones of the audio in order, silence among them" if tier == "phone" else "words in order"
    return (
        Column(name=tier, type="list<string>", description=what, source=source),
        Column(
            name=f"{tier}_start",
            type="list<float64>",
            description=f"begin of each {tier}",
            unit="s",
            source=source,
        ),
        Column(
            name=f"{tier}_end",
            type="list<float64>",
            description=f"end of each {tier}",
            unit="s",
            source=source,
        ),
    )


def _listed(tier: str, intervals: Sequence[Interval] | None) -> dict[str, Any]:
    if intervals is None:
        return {tier: None, f"{tier}_start": None, f"{tier}_end": None}
    return {
        tier: [item.label for item in intervals],
        f"{tier}_start": [item.start for item in intervals],
        f"{tier}_end": [item.end for item in intervals],
    }
