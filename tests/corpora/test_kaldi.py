from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from speechtok.audio.io import read_waveform
from speechtok.commands.tokenize import tokenize_corpus
from speechtok.corpora import read_corpus
from speechtok.engine.settings import JobSettings, RunSettings
from speechtok.errors import DatasetError
from speechtok.shards.reader import TokenDataset


@pytest.fixture
def kaldi(tmp_path):
    def write(**files):
        for name, content in files.items():
            (tmp_path / name.replace("_scp", ".scp")).write_text(content, encoding="utf-8")
        return tmp_path

    return write


def test_everything(kaldi):
    folder = kaldi(
        wav_scp="b  sub/b c.wav \na /abs/a.flac\n\n",
        text="a HELLO  WORLD\nb\n",
        utt2spk="a s1\n",
        utt2lang="b en-US\n",
    )
    for path in (folder, folder / "wav.scp"):
        corpus = read_corpus(path)
        assert (corpus.kind, corpus.root, corpus.name) == ("kaldi", folder, folder.name)
        b, a = corpus.utterances
        assert (a.id, a.audio, a.text, a.speaker, a.language) == (
            "a",
            "/abs/a.flac",
            "HELLO  WORLD",
            "s1",
            None,
        )
        assert (b.id, b.audio, b.text, b.speaker, b.language) == ("b", "sub/b c.wav", "", None, "en-US")


def test_byte_order_mark_and_windows_line_ends(kaldi):
    folder = kaldi(wav_scp="\ufeffa a.wav\r\nb b.wav\r\n")
    assert [(item.id, item.audio) for item in read_corpus(folder).utterances] == [
        ("a", "a.wav"),
        ("b", "b.wav"),
    ]


def test_segments(kaldi):
    folder = kaldi(wav_scp="r r.wav\n", segments="r-1 r 0 1.5\nr-2 r 1.5 4\n", text="r-2 BYE\n")
    one, two = read_corpus(folder).utterances
    assert (one.id, one.audio, one.start, one.segment_seconds, one.text) == ("r-1", "r.wav", 0.0, 1.5, None)
    assert (two.id, two.audio, two.start, two.segment_seconds, two.text) == ("r-2", "r.wav", 1.5, 2.5, "BYE")


def test_records_of_an_archive(kaldi, tmp_path):
    (tmp_path / "odd.wav:7").touch()
    folder = kaldi(
        wav_scp="a data/wav.ark:6\nb odd.wav:7\nc x.pcm#rate=8000\n", segments="s a 0 1.5\nt b 0 1\nu c 0 1\n"
    )
    assert [(item.id, item.audio) for item in read_corpus(folder).utterances] == [
        ("s", "data/wav.ark#offset=6"),
        ("t", "odd.wav:7"),
        ("u", "x.pcm#rate=8000"),
    ]


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"wav_scp": "a sox a.sph -t wav - |\n"}, "gives a command for 'a'; commands are not run"),
        ({"wav_scp": "a a.wav\nb\n"}, "wav.scp line 2 must be 'id path', got 'b'"),
        (
            {"wav_scp": "a a.wav\nb b.wav\na c.wav\n"},
            "has the id 'a' twice, at line 1 and at line 3; ids must be",
        ),
        (
            {"wav_scp": "a a.wav\n", "text": "a X\n\na Y\n"},
            "text has the id 'a' twice, at line 1 and at line 3",
        ),
        ({"wav_scp": ""}, "wav.scp holds no utterance"),
        ({"wav_scp": "a a.wav\n", "segments": ""}, "segments holds no utterance"),
        (
            {"wav_scp": "a a.wav\n", "segments": "x a 0\n"},
            "segments line 1 must be 'utterance recording start end'",
        ),
        (
            {"wav_scp": "a a.wav\n", "segments": "x a 0 1 0 A\n"},
            "segments line 1 must be .* and a channel counted from 0 where one is meant, got 'x a 0 1 0 A'",
        ),
        ({"wav_scp": "a a.wav\n", "segments": "x a 0 1 A\n"}, "segments line 1 must be 'utterance rec"),
        ({"wav_scp": "a a.wav\n", "segments": "x a 0 1 -1\n"}, "segments line 1 must be 'utterance rec"),
        (
            {"wav_scp": "a a.wav\n", "segments": f"x a 0 1 {'1' * 5000}\n"},
            "segments line 1 must be 'utterance rec",
        ),
        (
            {"wav_scp": "a a.wav#channel=1\n", "segments": "x a 0 1 0\n"},
            "line 1 names channel 0 of 'a.wav#channel=1', of which wav.scp takes channel 1",
        ),
        ({"wav_scp": "a a.wav\n", "segments": "x a 3 -2\n"}, "0 <= start < end, or the end -1, got 3 and -2"),
        (
            {"wav_scp": "a a.wav\n", "utt2spk": "b s\na s t\n"},
            "utt2spk line 2 must be 'id label', without white space in the label, got 'a s t'",
        ),
        ({"wav_scp": "a a.wav\n", "segments": "x a 0 end\n"}, "segments line 1 must be 'utterance recording"),
        (
            {"wav_scp": "a a.wav\n", "segments": "x b 0 1\n"},
            "line 1 names the recording 'b', which wav.scp does not",
        ),
        (
            {"wav_scp": "a a.wav\n", "segments": "x a 1 1\n"},
            "line 1 must have 0 <= start < end, or the end -1, got 1 and 1",
        ),
        (
            {"wav_scp": "a a.wav\n", "segments": "x a nan 1\n"},
            "line 1 must have 0 <= start < end, or the end -1, got nan and 1",
        ),
        (
            {"wav_scp": "a a.wav\n", "segments": "x a 0 inf\n"},
            "line 1 must have 0 <= start < end, or the end -1, got 0 and inf",
        ),
        (
            {"wav_scp": "a a.wav\n", "segments": "x a 0 1\nx a 1 2\n"},
            "segments has the id 'x' twice, at line 1 and at line 2",
        ),
    ],
)
def test_errors(kaldi, files, sentence):
    with pytest.raises(DatasetError, match=sentence):
        list(read_corpus(kaldi(**files)).utterances)


def test_not_text(tmp_path):
    (tmp_path / "wav.scp").write_bytes(b"a \xff.wav\n")
    with pytest.raises(DatasetError, match=r"wav\.scp cannot be read as UTF-8 text"):
        list(read_corpus(tmp_path).utterances)


@pytest.fixture
def call(kaldi):
    """A call of 2 s, a speaker on each channel, and what `segments` says of it."""

    def write(segments, **files):
        folder = kaldi(wav_scp="call call.wav\n", segments=segments, **files)
        sides = np.stack([np.full(16000, 0.25), np.full(16000, -0.5)], axis=1)
        soundfile.write(folder / "call.wav", sides, 8000)
        return folder

    return write


def heard(folder, item):
    read = read_waveform(folder / item.audio, start=item.start, duration=item.segment_seconds)
    return read.duration, read.samples[0]


def test_the_fifth_field_is_the_channel(call):
    folder = call("a call 0 1.5 0\nb call 0 1.5 1\nboth call 0.5 2.0\n")
    a, b, both = read_corpus(folder).utterances
    assert [heard(folder, item) for item in (a, b, both)] == [(1.5, 0.25), (1.5, -0.5), (1.5, -0.125)]


def test_the_channel_of_a_record(kaldi):
    folder = kaldi(wav_scp="r x.ark:6\nc call.flac#channel=1\n", segments="a r 0 1 1\nb c 0 1 1\nd c 0 1\n")
    assert [item.audio for item in read_corpus(folder).utterances] == [
        "x.ark#channel=1&offset=6",
        "call.flac#channel=1",
        "call.flac#channel=1",
    ]


def test_the_end_of_the_recording(call):
    folder = call("a call 0.5 -1\nb call 1.5 -1.00 1\n")
    assert [heard(folder, item)[0] for item in read_corpus(folder).utterances] == [1.5, 0.5]


@pytest.mark.parametrize("segment", [None, "fixed"])
def test_what_reaches_beyond_its_recording(call, tmp_path, segment):
    """Up to half a second is cut, as Kaldi does; what is further out is no rounding, and goes to quarantine."""
    folder = call("cut call 0.5 2.5 1\nexact call 0.5 2\nfar call 0.5 2.6\nlater call 2 2.5\n")
    settings = JobSettings(segment=segment, max_segment_seconds=1)
    out = tmp_path / "out"
    report = tokenize_corpus(folder, out, settings=settings, run=RunSettings(workers=1))
    lengths = Counter[str]()
    for row in TokenDataset(out):
        lengths[row["id"].partition("-")[0]] += row["num_samples"]
    assert lengths == {"cut": 24000, "exact": 24000}
    assert report.quarantined == 2
    reasons = pq.read_table(next((out / "quarantine").glob("*.parquet"))).to_pylist()
    assert {row["id"] for row in reasons} == {"far", "later"}
    assert all("lies outside the file, which is 2.000 s long" in row["message"] for row in reasons)
    assert tokenize_corpus(folder, out, settings=settings, run=RunSettings(workers=1)).shards_made == 0
