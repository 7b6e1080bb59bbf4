"""Long recordings become several utterances, which lose no sample."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechtok.audio.io import read_waveform
from speechtok.corpora import cut_long, read_corpus
from speechtok.errors import DatasetError
from speechtok.jobs.run import tokenize_corpus
from speechtok.jobs.settings import JobSettings
from speechtok.shards.reader import TokenDataset

RATE = 8000


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for name, seconds in (("long", 7.123), ("short", 0.9)):
        samples = 0.1 * np.random.default_rng(0).standard_normal(int(seconds * RATE))
        soundfile.write(tmp_path / f"{name}.wav", samples, RATE, subtype="FLOAT")
    (tmp_path / "bad.wav").write_text("no audio")
    (tmp_path / "wav.scp").write_text("long long.wav\nshort short.wav\nbad bad.wav\n")
    (tmp_path / "text").write_text("long one two three\nshort four\n")
    (tmp_path / "utt2spk").write_text("long anna\n")
    return tmp_path


def test_pieces(corpus: Path) -> None:
    cut = cut_long(read_corpus(corpus), 2.5)
    found = list(cut.utterances)
    pieces = [item for item in found if item.id.startswith("long")]
    assert [item.id for item in found if item not in pieces] == ["short", "bad"]
    assert found[-2].text == "four"
    times = [tuple(map(int, item.id.split("-")[1:])) for item in pieces]
    assert times[0][0] == 0
    assert times[-1][1] == 7123
    assert all(a[1] == b[0] for a, b in pairwise(times))
    assert all(item.speaker == "anna" and item.text is None for item in pieces)
    read = [
        read_waveform(corpus / item.audio, start=item.start, duration=item.segment_seconds).samples
        for item in pieces
    ]
    assert max(len(part) for part in read) <= 2.5 * RATE
    assert np.array_equal(np.concatenate(read), read_waveform(corpus / "long.wav").samples)


def test_segments_are_cut_from_their_own_beginning(corpus: Path) -> None:
    (corpus / "segments").write_text("seg long 1.5 6.0\nrest short 0.1 0.4\n")
    pieces = list(cut_long(read_corpus(corpus), 2).utterances)
    assert [item.id.split("-")[0] for item in pieces] == ["seg"] * (len(pieces) - 1) + ["rest"]
    assert pieces[0].start == 1.5
    assert pieces[-2].id.endswith("-4500")
    assert abs(pieces[-2].start + (pieces[-2].segment_seconds or 0) - 6.0) < 1e-9


def test_ids_stay_unique(corpus: Path) -> None:
    first = next(iter(cut_long(read_corpus(corpus), 2.5).utterances)).id
    with (corpus / "wav.scp").open("a") as file:
        file.write(f"{first} short.wav\n")
    with pytest.raises(DatasetError, match=f"has the id '{first}' twice"):
        list(cut_long(read_corpus(corpus), 2.5).utterances)


def test_a_job_cuts_and_goes_on(corpus: Path, tmp_path: Path) -> None:
    settings = JobSettings(cut_seconds=2.5)
    for made in (1, 0):
        report = tokenize_corpus(corpus, tmp_path / "out", settings=settings, executor="local")
        assert report.shards_made == made
    rows = TokenDataset(tmp_path / "out")
    assert max(row["duration"] for row in rows) <= 2.5
    assert abs(sum(row["duration"] for row in rows) - 8.023) < 0.001
    assert report.quarantined == 1
    with pytest.raises(ValueError, match=r"`cut_seconds` must be at least 1, got 0\.5"):
        JobSettings(cut_seconds=0.5)
