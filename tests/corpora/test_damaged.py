"""Damaged lists and archives of every format are read, or refused in one sentence; nothing else is raised."""

import gzip
import io
import json
import random
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from speechtok.corpora import read_corpus
from speechtok.errors import SpeechtokError
from speechtok.formats.codecs_txt import read_codecs
from speechtok.formats.kaldi_matrix import read_ark, read_scp
from speechtok.formats.table import read_table
from speechtok.formats.unit_lines import read_unit_lines

MUTANTS = 60
"""Changed files of each format; seeds are their numbers."""
ROWS = [
    {"audio": "a.wav", "id": "1", "text": "x, y", "start": 0.5, "duration": 1.5, "speaker": "s"},
    {"audio": "b.wav", "id": "2", "text": None, "start": 0.0, "duration": 2.0, "speaker": None},
]
CUT = {
    "id": "c",
    "start": 0.0,
    "duration": 1.0,
    "channel": 0,
    "type": "MonoCut",
    "supervisions": [{"id": "s", "start": 0.0, "duration": 1.0, "text": "x"}],
    "recording": {
        "id": "r",
        "sources": [{"type": "file", "channels": [0], "source": "a.wav"}],
        "sampling_rate": 16000,
        "duration": 1.0,
    },
}
AUDIO = [{"bytes": b"sound", "path": "1.wav"}, {"bytes": None, "path": "2.wav"}]


def parquet(rows):
    out = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue().to_pybytes()


def arrow(rows):
    table, out = pa.Table.from_pylist(rows), pa.BufferOutputStream()
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue().to_pybytes()


def tar():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in [
            ("a.json", b'{"text": "x"}'),
            ("a.wav", b"1"),
            ("b.1.wav", b"2"),
            ("b.1.txt", b"y"),
        ]:
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return out.getvalue()


LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
CORPORA = {
    "m.csv": b'audio,id,text,start,duration\na.wav,1,"x, y",0.5,1\nb.wav,2,,,\n',
    "m.tsv": b"audio\tid\ttext\na.wav\t1\tx\n",
    "m.jsonl": LINES,
    "m.jsonl.gz": gzip.compress(LINES, mtime=0),
    "m.json": b'{"audio_filepath": "a.wav", "duration": 1.5, "offset": 0.5, "text": "x"}\n',
    "m.parquet": parquet(ROWS),
    "cells.parquet": parquet([{"audio": cell, "text": "x"} for cell in AUDIO]),
    "cuts.jsonl": json.dumps(CUT).encode() + b"\n",
    "f.tsv": b"./audio\na.wav\t16000\n",
    "t.tar": tar(),
    "kaldi/segments": b"s-1 r 0.0 1.5 0\ns-2 r 1.5 -1\n",
    "kaldi/wav.scp": b"r r.wav\nq q.ark:15\n",
    "lj/metadata.csv": b"a|hello you|s1\nb|good bye|s1\nc|x y|s2\n",
    "folder/metadata.jsonl": b'{"file_name": "a.wav", "text": "x"}\n',
    "saved/state.json": b'{"_data_files": [{"filename": "data.arrow"}], "_split": "train"}',
    "saved/data.arrow": arrow([{"audio": cell, "text": "x"} for cell in AUDIO]),
}
TOKENS = {
    "codecs.txt": (b"a [[[1, 2], [3, 4]]]\n", read_codecs),
    "units.txt": (b"a|1 2 3\n{'audio': 'b', 'hubert': '1 2', 'duration': 0.5}\n", read_unit_lines),
    "x.ark": (b"a \0BFM \4\1\0\0\0\4\1\0\0\0\0\0\0\0", read_ark),
    "x.scp": (b"a x.ark:2\n", read_scp),
    "table": (b"a 1\nb 2\n", lambda path: read_table(path, int)),
}


def mutated(content, seed):
    """Return the content changed in one to eight places: bits, cuts, copies, and what breaks readers of text."""
    chance = random.Random(seed)
    changed = bytearray(content)
    odd = (
        b"\0",
        b"\xff",
        b'"',
        b"\r",
        b"[" * 3000,
        b"9" * 5000,
        b"1e999",
        b"NaN",
        b"null",
        b"-1",
        b"\xed\xa0\x80",
    )
    for _ in range(chance.randint(1, 8)):
        place = chance.randrange(len(changed) + 1)
        way = chance.randrange(4)
        if way == 0 and place < len(changed):
            changed[place] ^= 1 << chance.randrange(8)
        elif way == 1:
            changed[place:place] = chance.choice(odd)
        elif way == 2:
            del changed[place : place + chance.randint(1, 40)]
        else:
            begin = chance.randrange(len(changed) + 1)
            changed[place:place] = changed[begin : begin + chance.randint(1, 40)]
    return bytes(changed)


def refused(read):
    """Return whether reading ends in an error of ours, which says something."""
    try:
        for _ in read():
            pass
    except SpeechtokError as error:
        return bool(str(error).strip())
    return False


@pytest.mark.parametrize("name", CORPORA)
def test_corpora(tmp_path, name):
    for other, content in CORPORA.items():
        (tmp_path / other).parent.mkdir(exist_ok=True)
        (tmp_path / other).write_bytes(content)
    for recording in ("lj/a.wav", "lj/b.wav", "lj/c.wav", "folder/a.wav"):
        (tmp_path / recording).write_bytes(b"x")
    corpus = tmp_path / (name.partition("/")[0])
    assert not refused(lambda: read_corpus(corpus).utterances)
    ended = 0
    for seed in range(MUTANTS):
        (tmp_path / name).write_bytes(mutated(CORPORA[name], seed))
        ended += refused(lambda: read_corpus(corpus).utterances)
    assert ended or name in ("t.tar", "lj/metadata.csv", "folder/metadata.jsonl")


@pytest.mark.parametrize("name", TOKENS)
def test_token_files(tmp_path, name):
    for other, (content, _) in TOKENS.items():
        (tmp_path / other).write_bytes(content)
    content, read = TOKENS[name]
    assert not refused(lambda: read(tmp_path / name))
    for seed in range(MUTANTS):
        (tmp_path / name).write_bytes(mutated(content, seed))
        refused(lambda: read(tmp_path / name))
