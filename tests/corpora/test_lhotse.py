import gzip
import json

import numpy as np
import pytest
import soundfile

from speechtok.audio.io import read_waveform
from speechtok.corpora import read_corpus
from speechtok.errors import DatasetError


def recording(name="r", source="r.wav", channels=(0,), duration=10.0, **more):
    sources = [{"type": "file", "channels": list(channels), "source": source}]
    return {
        "id": name, "sources": sources, "sampling_rate": 16000, "num_samples": int(duration * 16000),
        "duration": duration, "channel_ids": list(channels),
    } | more  # fmt: skip


def cut(name="c", start=1.5, duration=2.0, channel=0, kind="MonoCut", supervisions=(), **more):
    return {
        "id": name, "start": start, "duration": duration, "channel": channel, "type": kind,
        "supervisions": list(supervisions), "recording": recording(),
    } | more  # fmt: skip


def supervision(name="s", start=0.0, duration=2.0, **more):
    return {"id": name, "recording_id": "r", "start": start, "duration": duration, "channel": 0} | more


def write(path, objects):
    text = "".join(json.dumps(item) + "\n" for item in objects)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def utterances(path):
    return list(read_corpus(path).utterances)


@pytest.mark.parametrize("name", ["cuts.jsonl", "cuts.jsonl.gz"])
def test_cuts(tmp_path, name):
    said = supervision(text="good day", speaker="anna", language="en")
    first = cut("a", supervisions=[said], custom={"snr": 20.0, "tokens": [1, 2]})
    corpus = read_corpus(write(tmp_path / name, [first, cut("b", start=0.0, duration=9.9996)]))
    assert (corpus.kind, corpus.root) == ("lhotse", tmp_path)
    a, b = corpus.utterances
    assert (a.id, a.audio, a.start, a.segment_seconds, a.seconds) == ("a", "r.wav", 1.5, 2.0, 2.0)
    assert (a.text, a.speaker, a.language, a.extra) == ("good day", "anna", "en", {"snr": 20.0})
    assert (b.start, b.segment_seconds, b.seconds) == (0.0, None, 9.9996)  # all of its recording


def test_several_supervisions(tmp_path):
    said = [
        supervision("2", start=1.0, text="bye", speaker="bo", language="en"),
        supervision("1", text="hi", speaker="anna", language="en"),
        supervision("3", start=1.5, speaker="bo", language="en"),
    ]
    (item,) = utterances(write(tmp_path / "c.jsonl", [cut(supervisions=said)]))
    assert (item.text, item.speaker, item.language) == ("hi bye", None, "en")


def test_channels(tmp_path):
    both = np.stack([np.full(16000, 0.25), np.full(16000, 0.5)], axis=1)
    soundfile.write(tmp_path / "two.wav", both, 16000, subtype="FLOAT")
    two = recording(source="two.wav", channels=(0, 1), duration=1.0)
    apart = {**recording(), "sources": [
        {"type": "file", "channels": [0], "source": "left.wav"},
        {"type": "file", "channels": [3], "source": "right.wav"},
    ]}  # fmt: skip
    cuts = [
        cut("all", 0, 1, [0, 1], "MultiCut", recording=two),
        cut("one", 0, 1, 1, recording=two),
        cut("right", channel=3, recording=apart),
    ]
    whole, one, right = utterances(write(tmp_path / "c.jsonl", cuts))
    assert whole.audio == "two.wav"
    assert right.audio == "right.wav"
    assert one.audio == "two.wav#channel=1"
    assert (read_waveform(tmp_path / one.audio).samples == 0.5).all()
    cuts = [cut("both", channel=[0, 3], kind="MultiCut", recording=apart)]
    with pytest.raises(DatasetError, match="channels from one file, but has 2; make one cut per channel"):
        utterances(write(tmp_path / "c.jsonl", cuts))
    three = recording(channels=(0, 1, 2))
    with pytest.raises(DatasetError, match="takes 2 of 3 channels; make one cut per channel"):
        utterances(write(tmp_path / "c.jsonl", [cut(channel=[0, 2], kind="MultiCut", recording=three)]))


def test_recordings_and_their_supervisions(tmp_path):
    path = write(tmp_path / "x_recordings_dev.jsonl", [recording(), recording("q", "q.wav")])
    assert [(item.id, item.audio, item.seconds) for item in utterances(path)] == (
        [("r", "r.wav", 10.0), ("q", "q.wav", 10.0)]
    )
    said = [supervision("s1", 1.0, 2.0, text="x", custom={"n": 1}), supervision("s2", 0.0, 10.0)]
    write(tmp_path / "x_supervisions_dev.jsonl", said)
    one, two = utterances(path)
    assert (one.id, one.start, one.segment_seconds, one.text, one.extra) == ("s1", 1.0, 2.0, "x", {"n": 1})
    assert (two.start, two.segment_seconds) == (0.0, None)
    write(tmp_path / "x_supervisions_dev.jsonl", [supervision(recording_id="z")])
    with pytest.raises(
        DatasetError, match=r"_dev.jsonl line 1 is of the recording 'z', which .* does not list"
    ):
        utterances(path)


def test_relative_paths_start_where_the_recordings_are(tmp_path, monkeypatch):
    (tmp_path / "manifests").mkdir()
    path = write(tmp_path / "manifests" / "c.jsonl", [cut()])
    monkeypatch.chdir(tmp_path)
    assert read_corpus(path).root == tmp_path / "manifests"
    soundfile.write("r.wav", np.zeros(160), 16000)
    assert read_corpus(path).root.resolve() == tmp_path
    soundfile.write("manifests/r.wav", np.zeros(160), 16000)
    assert read_corpus(path).root == tmp_path / "manifests"


def sources(**change):
    return [{"type": "file", "channels": [0], "source": "r.wav"} | change]


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        (
            cut(kind="MixedCut"),
            "line 1 is a MixedCut, which is audio of no file; write .* `CutSet.save_audios`",
        ),
        (cut(kind="PaddingCut"), "line 1 is a PaddingCut"),
        (cut(recording=None), "line 1 has no recording; give cuts with audio"),
        (
            cut(recording=recording(transforms=[{"name": "Speed", "kwargs": {}}])),
            "line 1 applies Speed to its recording; write the audio to files",
        ),
        (
            cut(recording=recording(sources=sources(type="command", source="sox x"))),
            r"audio of the type 'command'; only files are read \(commands are never run\)",
        ),
        (cut(recording=recording(sources=sources(type="url"))), "audio of the type 'url'"),
        (cut(duration=0), "must have start >= 0 and duration > 0, got 1.5 and 0"),
        (cut(start="soon"), "line 1 is no complete lhotse object .*ValueError"),
        (
            {"type": "MonoCut", "id": "c", "recording": {"id": "r"}},
            "line 1 is no complete lhotse object .*KeyError",
        ),
        (
            {"id": "s", "recording_id": "r", "start": 0, "duration": 1},
            "holds supervisions, which have no audio",
        ),
    ],
)
def test_errors(tmp_path, item, sentence):
    with pytest.raises(DatasetError, match=sentence):
        utterances(write(tmp_path / "c.jsonl", [item]))


def test_other_packed_lists_are_manifests(tmp_path):
    corpus = read_corpus(write(tmp_path / "m.jsonl.gz", [{"audio": "a.wav", "text": "x"}]))
    assert (corpus.kind, [item.id for item in corpus.utterances]) == ("manifest", ["a.wav"])
    (tmp_path / "m.jsonl.gz").write_bytes(b"\x1f\x8b broken")
    with pytest.raises(DatasetError, match=r"m\.jsonl\.gz cannot be read as UTF-8 text"):
        read_corpus(tmp_path / "m.jsonl.gz")
