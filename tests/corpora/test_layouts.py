"""Well-known corpora are recognised and described."""

import pytest

from speechtok.audio.io import probe_audio
from speechtok.corpora import read_corpus
from speechtok.errors import DatasetError
from speechtok.utterances import CORPUS_FORMATS


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
    (root / "metadata.csv").write_text("LJ001-0001|yes\nLJ001-0002\n")
    with pytest.raises(
        DatasetError, match=r"metadata.csv line 2 must be 'id.text.normalized text', got 'LJ001"
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


def test_layouts_of_others_have_no_language(miniature):
    """Their names of readers and chapters are any; their language is not known."""
    root = miniature("libritts")
    (root / "dev-clean" / "9").rename(root / "dev-clean" / "reader a")
    (root / "test-clean").rename(root / "mine")
    found = described(read_corpus(root))
    assert found["9_7_000001_000000"] == ("dev.clean", "reader a", None, "Mister A")
    assert found["10_7_000001_000000"] == (None, "10", None, "Mister A")
    root = miniature("vctk")
    (root / "wav48_silence_trimmed" / "p225").rename(root / "wav48_silence_trimmed" / "anna")
    assert {item.speaker: item.language for item in read_corpus(root).utterances} == {
        "anna": None,
        "s5": "en",
    }


# --- lists in the style of LJSpeech ---


@pytest.fixture
def listed(tmp_path, write_corpus):
    """A folder with three recordings, and what its metadata.csv says of them: text and speaker by id."""

    def read(lines, recordings=("wavs/0.wav", "wavs/1.wav", "wavs/2.wav"), **options):
        write_corpus(tmp_path, dict.fromkeys(recordings, b"x"))
        (tmp_path / "metadata.csv").write_text("\n".join(lines) + "\n")
        corpus = read_corpus(tmp_path, **options)
        assert corpus.kind == "ljspeech"
        found = list(corpus.utterances)
        assert [item.audio for item in found] == sorted(recordings)[: len(found)]
        assert {item.language for item in found} == {None}
        return {item.id: (item.text, item.speaker) for item in found}

    return read


@pytest.mark.parametrize(
    ("lines", "first"),
    [
        (["wavs/0.wav|m1|hello one", "wavs/1.wav|m1|hello two", "wavs/2.wav|f1|three"], ("hello one", "m1")),
        (["0.wav|hello", "1.wav|hello two", "2.wav|three"], ("hello", None)),
        (["0|hello one|m1", "1|hello two|m1", "2|three|f1"], ("hello one", "m1")),
        (["set/wavs/0|hello one|m1", "set/wavs/1|two b|m2", "set/wavs/2|c d|m3"], ("hello one", "m1")),
        (["0|in 1 word|in one word", "1|yes|yes", "2|no no|no no"], ("in one word", None)),
        (["0|in 1 word|", "1|yes|yes", "2|no no|no no"], ("in 1 word", None)),
        (["0|你好|s1", "1|谢谢|s1", "2|再见|s2"], ("你好", "s1")),
        (["audio_file|text|speaker_name", "0|a b|x y", "1|c d|x y", "2|e|z"], ("a b", "x y")),
        (["ID|Speaker|Transcript", "0|x|yes", "1|x|no", "2|z|yes"], ("yes", "x")),
    ],
)
def test_lists_in_the_style_of_ljspeech(listed, lines, first):
    assert next(iter(listed(lines).values())) == first


def test_speakers_of_several_words(listed):
    names = [f"wavs/{number}.wav" for number in range(8)]
    lines = [f"{number}|{'abcdefgh'[number]} b|{('Anna Bo', 'Carl Dee')[number % 2]}" for number in range(8)]
    assert set(listed(lines, names).values()) >= {("a b", "Anna Bo"), ("b b", "Carl Dee")}


def test_what_cannot_be_told_is_said_by_the_user(listed):
    lines = ["0|zero|jackson", "1|one|theo", "2|two|theo"]
    with pytest.raises(
        DatasetError, match=r"has 3 fields, and it cannot be told which is the text; say so, such"
    ):
        listed(lines)
    assert listed(lines, columns={"text": "2", "speaker": "3"})["0"] == ("zero", "jackson")
    lines = ["file|word|who", *lines]
    assert listed(lines, columns={"text": "word", "speaker": "who"})["0"] == ("zero", "jackson")
    with pytest.raises(DatasetError, match=r"metadata\.csv has no field 4; it has: file, word, who"):
        listed(lines, columns={"text": "4"})


def test_recordings_of_a_list(listed, tmp_path):
    with pytest.raises(DatasetError, match=r"names '0', which may be a/0\.wav or b/0\.wav; write paths"):
        listed(["0|x", "b/0|y"], ["a/0.wav", "b/0.wav"])
    assert listed(["a/0|x", "b/0.wav|y"], ["a/0.wav", "b/0.wav"]) == {
        "a/0": ("x", None),
        "b/0.wav": ("y", None),
    }
    (tmp_path / "metadata.csv").write_text("a/0|x\na/7|y\n")
    corpus = read_corpus(tmp_path)
    assert [item.audio for item in corpus.utterances] == [
        "a/0.wav",
        "a/7.wav",
    ]  # of which one will be missing
    assert corpus.ignored == {"recordings that no list names": 1}


def test_a_list_of_something_else(tmp_path, write_corpus):
    write_corpus(tmp_path, {"wavs/0.wav": b"x"})
    for content in ("city|people\nRome|3\n", "a,b\n0,1\n", "", "\n\n"):
        (tmp_path / "metadata.csv").write_text(content)
        assert read_corpus(tmp_path).kind == "folder"


# --- AudioFolder ---


def test_audiofolder(tmp_path, write_corpus):
    write_corpus(tmp_path, {"train/a/0.wav": b"x", "train/1.wav": b"x", "test/2.flac": b"x"})
    (tmp_path / "train" / "metadata.csv").write_text(
        'file_name,transcription,speaker,age\na/0.wav,"yes, no",anna,\n'
    )
    (tmp_path / "test" / "metadata.jsonl").write_text(
        '{"file_name": "2.flac", "text": "x", "language": "de", "words": [1], "duration": 1.5}\n'
    )
    corpus = read_corpus(tmp_path)
    assert corpus.kind == "audiofolder"
    one, two = corpus.utterances
    assert (one.id, one.audio, one.text, one.speaker, one.split, one.extra) == (
        *("train/a/0.wav", "train/a/0.wav", "yes, no", "anna", "train"),
        {"age": None},
    )
    assert (two.id, two.text, two.language, two.split, two.seconds, two.extra) == (
        *("test/2.flac", "x", "de", "test", 1.5),
        {},
    )
    assert corpus.ignored == {"recordings that no list names": 1}
    (item,) = read_corpus(tmp_path / "train", columns={"id": "age", "text": "speaker"}).utterances
    assert (item.id, item.audio, item.text, item.split) == ("a/0.wav", "a/0.wav", "anna", None)
    (tmp_path / "train" / "metadata.csv").write_text("file_name,x\na/0.wav,1\n,2\n")
    with pytest.raises(DatasetError, match=r"metadata\.csv line 3 names no file in the column file_name"):
        list(read_corpus(tmp_path).utterances)


# --- formats by name ---


def test_a_format_by_name(miniature, tmp_path):
    root = miniature("ljspeech")
    corpus = read_corpus(root, corpus_format="folder")
    assert next((item.id, item.speaker) for item in corpus.utterances) == ("wavs/LJ001-0001.wav", None)
    assert read_corpus(root, corpus_format="ljspeech").kind == "ljspeech"
    with pytest.raises(
        DatasetError, match=r"cannot be read as a corpus of the format kaldi: it lacks the files"
    ):
        read_corpus(root, corpus_format="kaldi")
    with pytest.raises(ValueError, match=r"`corpus_format` must be one of folder, kaldi, .*, got 'wavs'"):
        read_corpus(root, corpus_format="wavs")
    table = tmp_path / "list.tsv"
    table.write_text("audio/path\na.wav\n")
    assert read_corpus(table).kind == "fairseq"
    columns = {"audio": "audio/path"}
    assert read_corpus(table, columns=columns, corpus_format="manifest").kind == "manifest"


@pytest.mark.parametrize("kind", CORPUS_FORMATS)
def test_every_format_has_a_name(tmp_path, kind):
    """Of an empty folder and an empty file, each is refused in a sentence, or found to hold nothing."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.x").touch()
    for place in (tmp_path / "empty", tmp_path / "file.x"):
        with pytest.raises(DatasetError):
            list(read_corpus(place, corpus_format=kind).utterances)
