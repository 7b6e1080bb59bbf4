import gzip
import json
import math
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechtok.corpora import corpus as corpus_module
from speechtok.corpora import read_corpus
from speechtok.errors import DatasetError

ROWS = [
    {
        "audio": "a b.wav",
        "id": "1",
        "text": "x, y",
        "speaker": "s",
        "language": "en",
        "split": "dev",
        "mood": "calm",
    },
    {
        "audio": "b.wav",
        "id": "2",
        "text": None,
        "speaker": None,
        "language": None,
        "split": None,
        "mood": None,
    },
]


def write(path, content):
    if isinstance(content, str):
        path.write_text(content, encoding="utf-8", newline="")
    else:
        path.write_bytes(content)
    return path


def write_rows(folder, suffix, rows):
    path = folder / f"m{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif suffix == ".jsonl":
        write(path, "".join(json.dumps(row) + "\n" for row in rows))
    else:
        separator = "\t" if suffix == ".tsv" else ","
        quote = (
            (lambda value: value)
            if suffix == ".tsv"
            else (lambda value: f'"{value}"' if "," in value else value)
        )
        lines = [list(rows[0])] + [[quote(row[name] or "") for name in rows[0]] for row in rows]
        write(path, "".join(separator.join(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_every_format(tmp_path, suffix):
    corpus = read_corpus(write_rows(tmp_path, suffix, ROWS))
    assert (corpus.kind, corpus.name, corpus.root) == ("manifest", f"m{suffix}", tmp_path)
    one, two = corpus.utterances
    assert (one.id, one.audio, one.text, one.speaker, one.language, one.split) == (
        ("1", "a b.wav", "x, y", "s", "en", "dev")
    )
    assert (two.id, two.audio, two.text, two.speaker, two.language, two.split) == ("2", "b.wav", *[None] * 4)
    assert [item.extra for item in corpus.utterances] == [{"mood": "calm"}, {"mood": None}]


# letters that Python takes for line ends, and what CSV must quote
cells = st.text(st.sampled_from("ab ,;\"'\n\r\t\x0b\x85\u2028é日"), min_size=1, max_size=8)


@given(st.lists(cells, min_size=1, max_size=5, unique=True))
def test_csv_gives_back_any_text(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("csv") / "m.csv"
    quoted = ['"' + text.replace('"', '""') + '"' for text in texts]
    write(path, "audio,text\n" + "".join(f"{n}.wav,{text}\n" for n, text in enumerate(quoted)))
    assert [item.text for item in read_corpus(path).utterances] == texts


@given(st.lists(cells, min_size=1, max_size=5))
def test_jsonl_gives_back_any_text(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("jsonl") / "m.jsonl"
    rows = [json.dumps({"audio": f"{n}.wav", "text": t}, ensure_ascii=False) for n, t in enumerate(texts)]
    write(path, "\n".join(rows))
    assert [item.text for item in read_corpus(path).utterances] == texts


def test_tsv_quotes_are_letters(tmp_path):
    corpus = read_corpus(write(tmp_path / "m.tsv", 'audio\ttext\na.wav\t"Yes," he said\n'))
    (item,) = corpus.utterances
    assert item.text == '"Yes," he said'


def test_byte_order_mark(tmp_path):
    corpus = read_corpus(write(tmp_path / "m.csv", "\ufeffaudio,text\r\na.wav,x\r\n\r\n"))
    assert [(item.audio, item.text) for item in corpus.utterances] == [("a.wav", "x")]


def test_types_are_kept(tmp_path):
    rows = [
        {"audio": "a.wav", "n": 3, "x": 1.5, "ok": True, "none": None},
        {"audio": "b.wav", "n": None, "x": 2.0},
    ]
    one, two = read_corpus(write_rows(tmp_path, ".jsonl", rows)).utterances
    assert one.extra == {"n": 3, "x": 1.5, "ok": True, "none": None}
    assert two.extra == {"n": None, "x": 2.0}


# --- ids and segments ---


def test_ids_without_an_id_column(tmp_path):
    text = "audio,start,duration\na.wav,,\na.wav,0.5,1\na.wav,2,\n,,\n".replace(
        ",,\n", ",,\n", 1
    ).removesuffix(",,\n")
    corpus = read_corpus(write(tmp_path / "m.csv", text))
    assert [item.id for item in corpus.utterances] == ["a.wav", "a.wav:0.500-1.500", "a.wav:2.000-"]
    assert [(item.start, item.segment_seconds) for item in corpus.utterances] == [
        (0, None),
        (0.5, 1.0),
        (2, None),
    ]


def test_duration_alone_describes_the_recording(tmp_path):
    corpus = read_corpus(write(tmp_path / "m.csv", "audio,duration\na.wav,3.2\n"))
    (item,) = corpus.utterances
    assert (item.segment_seconds, item.seconds, item.extra) == (None, 3.2, {})


def test_nan_means_missing(tmp_path):
    """As pandas writes it."""
    row = {
        "audio": "a.wav",
        "id": math.nan,
        "start": math.nan,
        "duration": math.nan,
        "text": math.nan,
        "x": math.nan,
    }
    path = write_rows(tmp_path, ".parquet", [row])
    (item,) = read_corpus(path).utterances
    assert (item.id, item.start, item.segment_seconds, item.text) == ("a.wav", 0.0, None, None)
    assert math.isnan(item.extra["x"])


def test_number_as_id(tmp_path):
    corpus = read_corpus(write_rows(tmp_path, ".jsonl", [{"audio": "a.wav", "id": 7, "speaker": 3}]))
    (item,) = corpus.utterances
    assert (item.id, item.speaker) == ("7", "3")


# --- other names ---


def test_renamed_columns(tmp_path):
    path = write(tmp_path / "m.csv", "path,sentence,audio\na.wav,Hello,7\n")
    corpus = read_corpus(path, columns={"audio": "path", "text": "sentence"})
    (item,) = corpus.utterances
    assert (item.id, item.audio, item.text, item.extra) == ("a.wav", "a.wav", "Hello", {})
    with pytest.raises(DatasetError, match="has no column file; it has: path, sentence, audio"):
        list(read_corpus(path, columns={"audio": "file"}).utterances)


def test_lines_with_columns_of_their_own(tmp_path):
    """As several people write them: a name that only some lines have is missing elsewhere."""
    lines = [
        {"file": "a.wav", "begin": 0.5, "duration": 1, "who": "s"},
        {"file": "b.wav", "duration": 3.07, "mood": "calm"},
    ]
    path = write_rows(tmp_path, ".jsonl", lines)
    columns = {"audio": "file", "start": "begin", "speaker": "who"}
    one, two = read_corpus(path, columns=columns).utterances
    assert (one.start, one.segment_seconds, one.speaker, one.extra) == (0.5, 1.0, "s", {})
    assert (two.start, two.segment_seconds, two.seconds, two.speaker, two.extra) == (
        *(0, None, 3.07, None),
        {"mood": "calm"},
    )
    with pytest.raises(DatasetError, match=r"m\.jsonl line 1 has no column words; it has: file, begin, dur"):
        list(read_corpus(path, columns={**columns, "text": "words"}).utterances)


@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
def test_nemo(tmp_path, suffix):
    lines = [
        {"audio_filepath": "a.flac", "offset": 0.0, "duration": 5.0, "text": "one", "speaker": "s1"},
        {"audio_filepath": "a.flac", "offset": 5.0, "duration": 4.0, "text": "one b", "speaker_id": "s1"},
        {"audio_filepath": "b.flac", "duration": 3.07, "text": "two"},
    ]
    path = write(tmp_path / f"m{suffix}", "".join(json.dumps(line) + "\n" for line in lines))
    for columns in ({}, {"audio": "audio_filepath"}, {"audio": "audio_filepath", "start": "offset"}):
        found = list(read_corpus(path, columns=columns).utterances)
        assert [(item.id, item.start, item.segment_seconds, item.seconds) for item in found] == [
            ("a.flac:0.000-5.000", 0.0, 5.0, 5.0),
            ("a.flac:5.000-9.000", 5.0, 4.0, 4.0),
            ("b.flac", 0.0, None, 3.07),
        ]
        assert [item.extra for item in found] == [{}, {"speaker_id": "s1"}, {}]
        assert [item.text for item in found] == ["one", "one b", "two"]


def test_what_no_recording_can_be(tmp_path):
    """One row of a list says what cannot be: it goes to quarantine, and the others do not."""
    lines = [
        '{"audio": "a\\u0000.wav"}',
        '{"audio": "b.wav", "duration": 1e308}',
        '{"audio": "c.wav", "start": 1e300}',
        '{"audio": "d.wav", "text": "\\ud800"}',
        '{"audio": "e.wav", "mood": "\\ud800"}',
        '{"audio": "f.wav"}',
    ]
    found = list(read_corpus(write(tmp_path / "m.jsonl", "\n".join(lines))).utterances)
    assert [item.audio for item in found] == ["a\0.wav", *(f"{letter}.wav" for letter in "bcdef")]
    for item, reason in zip(
        found,
        [
            "line 1 of the recording 'a\\x00.wav' has a path with a NUL",
            "states a time of 1e+308 s",
            "states a time",
            "text",
            "mood",
        ],
        strict=False,
    ):
        assert reason in item.fault
    assert found[-1].fault is None


def test_packed_lines_without_end(tmp_path, monkeypatch):
    """A small file becomes a large one: as far as agreed, and no further."""
    monkeypatch.setattr("speechtok.corpora.lines.LINE_BYTES", 100_000)
    monkeypatch.setattr("speechtok.limits.INFLATED_BYTES", 200_000)
    path = tmp_path / "m.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"audio": "a.wav"}\n' + b" " * 150_000))
    with pytest.raises(DatasetError, match=r"line 2 is longer than 100 kB, the most that is read of one"):
        list(read_corpus(path).utterances)
    path.write_bytes(gzip.compress((b" " * 99 + b"\n") * 10_000))
    with pytest.raises(
        DatasetError, match=r"m\.jsonl\.gz inflates to more than .* the most that is read of it"
    ):
        list(read_corpus(path).utterances)


# --- errors ---


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (
            "m.csv",
            "path,text\na.wav,x\n",
            "needs a column `audio` .*; it has: path, text. .* --column audio=NAME",
        ),
        ("m.csv", "audio,text\n,x\n", "m.csv line 2: `audio` must be a path, got None"),
        ("m.jsonl", '{"audio": 3}\n', "m.jsonl line 1: `audio` must be a path, got 3"),
        ("m.csv", "audio,text\na.wav\n", "line 2 has 1 columns, but the header has 2"),
        ("m.csv", 'audio,text\na.wav,"x\ny\n"\nb.wav\n', "line 5 has 1 columns"),
        ("m.csv", "audio,text,text\na.wav,x,y\n", "has the column text twice; rename one of them"),
        (
            "m.csv",
            'audio,id\na.wav,"1\n"\nb.wav,2\nc.wav,2\n',
            "has the id '2' twice, at line 4 and at line 5",
        ),
        (
            "m.csv",
            "audio\na.wav\na.wav\n",
            "has the id 'a.wav' twice, at line 2 and at line 3; ids must be unique",
        ),
        ("m.csv", "audio\n", "m.csv holds no utterance"),
        ("m.csv", "", "m.csv holds no utterance"),
        ("m.tsv", "", "m.tsv holds no utterance"),
        ("m.tsv", "\n", "m.tsv holds no utterance"),
        ("m.jsonl", "", "m.jsonl holds no utterance"),
        ("m.jsonl", '{"audio": "a.wav"}\n{oops\n', "m.jsonl line 2 is not JSON"),
        ("m.jsonl", "[1]\n", "m.jsonl line 1 must be a JSON object, got list"),
        ("m.jsonl", '{"audio": "\\ud800.wav"}\n', "which is no valid Unicode; rename it"),
        ("m.csv", "audio,start\na.wav,soon\n", "line 2: `start` must be a number of seconds, got 'soon'"),
        ("m.csv", "audio,start\na.wav,inf\n", "line 2: `start` must be a number of seconds, got 'inf'"),
        (
            "m.csv",
            "audio,start,duration\na.wav,-1,2\n",
            "line 2: a segment needs start >= 0 and duration > 0, got -1",
        ),
        ("m.csv", "audio,start,duration\na.wav,1,0\n", "needs start >= 0 and duration > 0, got 1 and 0.0"),
        ("m.jsonl", '{"audio": ' + "[" * 99_999, "m.jsonl line 1 is not JSON: it is nested too deeply"),
        ("m.jsonl", f'{{"audio": "a.wav", "start": {"9" * 999}}}', "line 1: `start` must be a number of sec"),
        ("m.jsonl", f'{{"audio": "a.wav", "start": {"9" * 9999}}}', "line 1 is not JSON: Exceeds the limit"),
        ("m.json", '[{"audio": "a.wav"}]', "m.json line 1 must be a JSON object, got list"),
        (
            "m.csv",
            "a," * 10_001 + "\n",
            "m.csv has 10,002 columns, more than the 10,000 that a list may have",
        ),
        ("m.csv", b"audio\n\xff.wav\n", "m.csv cannot be read as UTF-8 text"),
        (
            "m.csv",
            "audio\n" + "x" * 200_000 + "\n",
            "m.csv cannot be read as .csv: field larger than field limit",
        ),
        ("m.parquet", b"PAR1 or not", "m.parquet cannot be read as Parquet"),
    ],
)
def test_errors(tmp_path, name, content, sentence):
    with pytest.raises(DatasetError, match=sentence):
        list(read_corpus(write(tmp_path / name, content)).utterances)


def test_a_list_that_repeats_a_line_is_not_read_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus_module, "FIRST_LOOK", 4)
    utterances = iter(
        read_corpus(
            write(tmp_path / "m.csv", "audio\n" + "".join(f"{name}.wav\n" for name in "abcdefb" + "x" * 1000))
        ).utterances
    )
    with pytest.raises(DatasetError, match=r"has the id 'b\.wav' twice, at line 3 and at line 8"):
        list(islice(utterances, 9))


def test_rows_of_parquet_are_named(tmp_path):
    path = write_rows(tmp_path, ".parquet", [{"audio": "a.wav"}, {"audio": "a.wav"}])
    with pytest.raises(DatasetError, match=r"has the id 'a\.wav' twice, at row 1 and at row 2"):
        list(read_corpus(path).utterances)
