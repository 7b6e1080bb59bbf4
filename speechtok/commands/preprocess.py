"""Corpus → the same recordings at one rate, without silence at their ends, as 16-bit WAV files.

Source: what `facebookresearch/speech-resynthesis` does to its corpora before training (trim, pad to whole pitch
codes); unlike there, folders are kept, and recordings are resampled with soxr.

Contents: `PreprocessSettings`, `PreprocessReport`, `preprocess`.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from speechtok.audio.io import AUDIO_SUFFIXES, Channels, read_waveform, write_wav
from speechtok.audio.trim import pad_to_multiple, trim_silence
from speechtok.commands.decode import wav_path
from speechtok.corpora import read_corpus
from speechtok.errors import AudioError, DatasetError, JobError
from speechtok.storage import AnyPath, as_path, join, replacing
from speechtok.utterances import Utterance
from speechtok.wording import count_text

SETTINGS = ".preprocess.json"
"""File in the output folder that says how it was made."""
_TMP = ".tmp"


@dataclass(frozen=True, kw_only=True)
class PreprocessSettings:
    """What is done to every recording, in this order."""

    sample_rate: int = 16_000
    """Hz wanted."""
    channels: Channels = "mean"
    """How several channels become one."""
    trim_db: float | None = None
    """Silence that lies this many decibels below the loudest frame is cut off at both ends; None keeps it."""
    pad: int | None = None
    """Zeros are added at the end up to a multiple of this many samples."""

    def __post_init__(self) -> None:
        if self.trim_db is not None and not self.trim_db > 0:
            raise ValueError(f"`trim_db` must be above 0, got {self.trim_db}.")
        if self.pad is not None and self.pad < 1:
            raise ValueError(f"`pad` must be at least 1, got {self.pad}.")


@dataclass(kw_only=True)
class PreprocessReport:
    """What came of a run."""

    written: int = 0
    """Recordings written now."""
    skipped: int = 0
    """Recordings that were there already."""
    failed: int = 0
    """Recordings that could not be used."""
    seconds: float = 0.0
    """Audio written now."""


def preprocess(
    corpus: str | AnyPath,
    output: str | Path,
    settings: PreprocessSettings,
    *,
    workers: int | None = None,
    max_errors: int | None = None,
    on_failure: Callable[[str], None] | None = None,
    on_recording: Callable[[], None] | None = None,
) -> PreprocessReport:
    """Write every utterance of a corpus as a WAV file, in the folders of the original.

    A file appears whole or not at all, and one that is there is not made again, so the same call finishes what was
    interrupted. Files are named by id without the suffix of a recording; where two would then have the same name,
    they keep it.

    Args:
        corpus: as for `read_corpus`.
        output: folder to write; neither the corpus nor inside it.
        settings: what is done.
        workers: recordings that are worked on at once; one per CPU when left out.
        max_errors: recordings that may fail; None lets any number.
        on_failure: called with a sentence about each recording that cannot be used.
        on_recording: called after each recording.

    Raises:
        DatasetError: when there is no corpus, or the folder holds recordings made in another way.
        JobError: when more recordings fail than may.
        OSError: when a file cannot be written.
    """
    source, folder = as_path(corpus), Path(output)
    if isinstance(source, Path) and source.is_dir() and folder.resolve().is_relative_to(source.resolve()):
        raise DatasetError(f"{folder} lies in the corpus {source}, whose recordings it would join.")
    found = read_corpus(source)
    utterances = list(found.utterances)
    _claim(folder, settings)
    paths = _paths(folder, [item.id for item in utterances])
    missing = [item for item in utterances if not paths[item.id].exists()]
    report = PreprocessReport(skipped=len(paths) - len(missing))

    def one(item: Utterance) -> float | AudioError:
        """Write one recording; return its seconds, or why it cannot be used."""
        try:
            return _write(join(found.root, item.audio), item, paths[item.id], settings)
        except AudioError as error:
            return error

    with ThreadPoolExecutor(workers) as pool:
        try:
            for result in pool.map(one, missing):
                if isinstance(result, AudioError) and on_failure is not None:
                    on_failure(str(result))
                _count(report, result, max_errors)
                if on_recording is not None:
                    on_recording()
        finally:
            pool.shutdown(cancel_futures=True)
    return report


def _count(report: PreprocessReport, result: float | AudioError, max_errors: int | None) -> None:
    """Add what came of one recording; raise `JobError` when more failed than may."""
    if not isinstance(result, AudioError):
        report.written += 1
        report.seconds += result
        return
    report.failed += 1
    if max_errors is not None and report.failed > max_errors:
        raise JobError(
            f"{count_text(report.failed, 'recording')} failed, more than the {max_errors} allowed; the last one: {result}"
        )


def _write(audio: AnyPath, item: Utterance, path: Path, settings: PreprocessSettings) -> float:
    samples = read_waveform(
        audio,
        sample_rate=settings.sample_rate,
        start=item.start,
        duration=item.segment_seconds,
        channels=settings.channels,
    ).samples
    if settings.trim_db is not None:
        samples = trim_silence(samples, top_db=settings.trim_db)
    if settings.pad is not None:
        samples = pad_to_multiple(samples, settings.pad)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_wav(path, samples, settings.sample_rate)
    return len(samples) / settings.sample_rate


def _claim(folder: Path, settings: PreprocessSettings) -> None:
    """Note the settings in the folder, or check that they are those it was begun with.

    Raises:
        DatasetError: when they are not, or the folder holds something else.
    """
    note, values = folder / SETTINGS, asdict(settings)
    if note.is_file():
        made = json.loads(note.read_text(encoding="utf-8"))
        other = [name for name in values if made.get(name) != values[name]]
        if other:
            raise DatasetError(
                f"{folder} was begun with {other[0]} {made.get(other[0])}, not {values[other[0]]}; "
                "use another folder, or the same settings."
            )
        return
    if folder.is_dir() and any(folder.iterdir()):
        raise DatasetError(f"{folder} holds other files already; preprocess into a new or empty folder.")
    with replacing(note, folder / _TMP) as temporary:
        temporary.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(folder / _TMP, ignore_errors=True)


def _paths(folder: Path, ids: list[str]) -> dict[str, Path]:
    """Return id → file."""
    short = {name: _without_suffix(name) for name in ids}
    taken = Counter([*short.values(), *(name for name in ids if short[name] != name)])
    return {name: wav_path(folder, short[name] if taken[short[name]] == 1 else name) for name in ids}


def _without_suffix(name: str) -> str:
    path = PurePosixPath(name)
    return name.removesuffix(path.suffix) if path.suffix.lower() in AUDIO_SUFFIXES else name
