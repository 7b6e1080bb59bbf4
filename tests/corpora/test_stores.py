"""A corpus in an object store is the same corpus."""

import io
import json
import tarfile

import numpy as np
import pytest

from speechtok.audio.io import probe_audio, read_waveform
from speechtok.corpora import read_corpus
from speechtok.errors import AudioError
from speechtok.storage import join


@pytest.fixture
def corpora(tmp_path, write_corpus, miniature):
    """Corpora of several formats in one folder; the place of each below it."""
    root = write_corpus(tmp_path / "root", {"audio/a.wav": 0.3, "audio/ü b.flac": 0.4})
    (root / "kaldi").mkdir()
    (root / "kaldi" / "wav.scp").write_text("one ../audio/a.wav\ntwo ../audio/ü b.flac\n")
    (root / "kaldi" / "text").write_text("one hello\n")
    (root / "kaldi" / "segments").write_text("one-1 one 0.0 0.1\ntwo-1 two 0.1 0.3\n")
    (root / "train.tsv").write_text("audio\n".replace("audio", "./audio") + "a.wav\t4800\n")
    (root / "list.jsonl").write_text(json.dumps({"audio": "audio/a.wav", "text": "x"}) + "\n")
    with tarfile.open(root / "set.tar", "w") as archive:
        for name in ("a.wav", "ü b.flac"):
            archive.add(root / "audio" / name, f"x/{name}")
        text = json.dumps({"text": "hi", "duration": 0.3}).encode()
        member = tarfile.TarInfo("x/ü b.json")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text))
    miniature("librispeech").rename(root / "LibriSpeech")
    return root, ["audio", "kaldi", "train.tsv", "list.jsonl", "set.tar", "LibriSpeech"]


def test_same_corpora(corpora, s3):
    root, names = corpora
    for file in sorted(root.rglob("*")):
        if file.is_file():
            (s3 / file.relative_to(root).as_posix()).put(file)
    for name in names:
        local, remote = read_corpus(root / name), read_corpus(f"{s3}/{name}")
        assert (local.kind, local.name) == (remote.kind, remote.name)
        found = list(local.utterances)
        assert found == list(remote.utterances), name
        for item in found:
            reading = {"start": item.start, "duration": item.segment_seconds}
            here = read_waveform(join(local.root, item.audio), **reading)
            there = read_waveform(join(remote.root, item.audio), **reading)
            np.testing.assert_array_equal(here.samples, there.samples)


def test_recordings_by_address(s3, tmp_path, write_corpus):
    """A list on a disk may name recordings in a store."""
    file = write_corpus(tmp_path, {"a.wav": 0.3}) / "a.wav"
    (s3 / "a.wav").put(file)
    (tmp_path / "wav.scp").write_text(f"one {s3}/a.wav\n")
    (item,) = read_corpus(tmp_path / "wav.scp").utterances
    assert probe_audio(item.audio) == probe_audio(file)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "there is no such file"),
        (b"", "the file is empty"),
        (b"words, not audio", "it is not audio but text"),
    ],
)
def test_bad_recordings(s3, content, reason):
    if content is not None:
        (s3 / "a.wav").put(content)
    with pytest.raises(AudioError, match=rf"^Cannot read '{s3}/a.wav': {reason}"):
        read_waveform(f"{s3}/a.wav")
