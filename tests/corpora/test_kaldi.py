import pytest

from speechtok.corpora import read_corpus
from speechtok.errors import DatasetError


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
        ({"wav_scp": "a a.wav\n", "segments": "x a 0 end\n"}, "segments line 1 must be 'utterance recording"),
        (
            {"wav_scp": "a a.wav\n", "segments": "x b 0 1\n"},
            "line 1 names the recording 'b', which wav.scp does not",
        ),
        ({"wav_scp": "a a.wav\n", "segments": "x a 1 1\n"}, "line 1 must have 0 <= start < end, got 1 and 1"),
        (
            {"wav_scp": "a a.wav\n", "segments": "x a nan 1\n"},
            "line 1 must have 0 <= start < end, got nan and 1",
        ),
        (
            {"wav_scp": "a a.wav\n", "segments": "x a 0 inf\n"},
            "line 1 must have 0 <= start < end, got 0 and inf",
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
        read_corpus(tmp_path)
