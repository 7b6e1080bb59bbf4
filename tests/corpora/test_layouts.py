"""Well-known corpora are recognised and described."""

import pytest

from speechtok.audio.io import probe_audio
from speechtok.corpora import read_corpus
from speechtok.errors import DatasetError


def described(corpus):
    return {
        item.id: (item.split, item.speaker, item.language, item.text)
        for item in corpus.utterances
        if probe_audio(corpus.root / item.audio).duration > 0
    }


LIBRISPEECH = {
    "19-198-0000": ("train.clean.100", "19", "en", "A B"),
    "19-198-0001": ("train.clean.100", "19", "en", None),
    "26-495-0000": ("train.clean.100", "26", "en", "A B"),
    "26-495-0001": ("train.clean.100", "26", "en", None),
    "116-288045-0000": ("dev.other", "116", "en", "A B"),
    "116-288045-0001": ("dev.other", "116", "en", None),
}


def test_librispeech(miniature):
    root = miniature("librispeech")
    for place in (root.parent, root):
        corpus = read_corpus(place)
        assert (corpus.kind, corpus.name) == ("librispeech", place.name)
        assert described(corpus) == LIBRISPEECH
    part = described(read_corpus(root / "dev-other"))
    assert part == {key: value for key, value in LIBRISPEECH.items() if key.startswith("116")}
    renamed = (root / "dev-other").rename(root / "mine")
    assert {split for split, *_ in described(read_corpus(renamed)).values()} == {None}


def test_libritts(miniature):
    corpus = read_corpus(miniature("libritts"))
    assert corpus.kind == "libritts"
    assert described(corpus) == {
        "9_7_000001_000000": ("dev.clean", "9", "en", "Mister A"),
        "9_7_000002_000000": ("dev.clean", "9", "en", None),
        "10_7_000001_000000": ("test.clean", "10", "en", "Mister A"),
        "10_7_000002_000000": ("test.clean", "10", "en", None),
    }


def test_vctk(miniature):
    corpus = read_corpus(miniature("vctk"))
    assert corpus.kind == "vctk"
    assert described(corpus) == {
        f"{speaker}_001_mic{number}": (None, speaker, "en", "Please call Stella.")
        for speaker in ("p225", "s5")
        for number in (1, 2)
    }
    assert [item.extra["microphone"] for item in corpus.utterances] == ["1", "2", "1", "2"]


def test_ljspeech(miniature):
    root = miniature("ljspeech")
    assert read_corpus(root).kind == "ljspeech"
    assert described(read_corpus(root)) == {
        "LJ001-0001": (None, "LJ", "en", 'in fourteen "so'),
        "LJ001-0002": (None, "LJ", "en", "yes"),
    }
    (root / "metadata.csv").write_text("LJ001-0001\n")
    with pytest.raises(
        DatasetError, match=r"metadata.csv line 1 must be 'id.text.normalized text', got 'LJ001"
    ):
        list(read_corpus(root).utterances)


def test_common_voice(miniature):
    root = miniature("common_voice")
    expected = {
        "common_voice_de_1": ("train", "c1", "de", '"Ja", sagt er'),
        "common_voice_de_2": ("dev", "c2", "de", '"Ja", sagt er'),
    }
    for place in (root, root / "de"):
        corpus = read_corpus(place)
        assert corpus.kind == "common_voice"
        assert described(corpus) == expected
    assert [item.seconds for item in corpus.utterances] == [0.4, None]
    assert [item.extra for item in corpus.utterances] == [
        {"age": "twenties", "gender": None, "accents": None}
    ] * 2
    (root / "de" / "train.tsv").write_text("client_id\tpath\nc1\t\n")
    with pytest.raises(DatasetError, match=r"train.tsv line 2 names no clip in the column path"):
        list(read_corpus(root).utterances)


def test_emilia(miniature):
    corpus = read_corpus(miniature("emilia"))
    assert corpus.kind == "webdataset"
    found = described(corpus)
    assert found["EN_B00000_S00002_W000000"] == (None, "EN_B00000_S00002", "en", " Hello.")
    assert {item.seconds for item in corpus.utterances} == {0.4}
    assert all(set(item.extra) == {"wav", "dnsmos"} for item in corpus.utterances)


def test_what_only_looks_like_one_is_a_folder(tmp_path, write_corpus):
    write_corpus(tmp_path, {"12/34/a.wav": 0.2, "wavs/b.wav": 0.2, "txt/c.wav": 0.2, "clips/d.wav": 0.2})
    corpus = read_corpus(tmp_path)
    assert (corpus.kind, len(list(corpus.utterances))) == ("folder", 4)
