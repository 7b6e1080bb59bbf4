"""Codes as people publish them → token dataset."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speechtok.cli.main import run
from speechtok.commands.import_tokens import import_tokens
from speechtok.errors import DatasetError
from speechtok.formats.token_files import CodeLayout
from speechtok.shards.layout import Layout
from speechtok.shards.reader import TokenDataset
from speechtok.shards.verify import verify

NAME = "dmel_16k"
CODES = {f"u{i}": np.random.default_rng(i).integers(0, 16, (80, 5 + i)) for i in range(3)}
"""Id → codes `(codebooks, frames)` of a tokenizer with 80 codebooks of 16 codes."""
OFFSETS = 100 + 16 * np.arange(80)[:, None]
"""First id of each codebook in a vocabulary that begins with 100 words."""


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def check(folder: Path, samples: dict[str, int] | None = None) -> None:
    assert not verify(Layout(folder)).problems
    dataset = TokenDataset(folder)
    assert [row["id"] for row in dataset] == list(CODES)
    for index, (key, codes) in enumerate(CODES.items()):
        tokens = dataset.tokens(index)
        assert np.array_equal(tokens["mel"][0].numpy(), codes)
        assert int(tokens.num_samples) == (samples or {}).get(key, 320 * codes.shape[1])


def test_numpy_files(tmp_path: Path) -> None:
    source = tmp_path / "codes"
    source.mkdir()
    for key, codes in CODES.items():
        np.save(source / f"{key}.npy", codes.T.astype(np.int16))
    (source / "utt2num_samples").write_text("u1 1700\n")
    words = ["import", str(source), str(tmp_path / "out"), "--tokenizer", NAME, "--axes", "TK"]
    assert run(words) == 0
    check(tmp_path / "out", {"u1": 1700})


LAYOUTS: dict[str, tuple[CodeLayout, Any]] = {
    "codebooks first": (CodeLayout(axes="KT"), lambda codes: {"codes": codes.tolist()}),
    "a batch of one": (CodeLayout(axes="KT"), lambda codes: {"codes": [codes.tolist()]}),
    "frames first": (CodeLayout(axes="TK"), lambda codes: {"codes": codes.T.tolist()}),
    "flat": (CodeLayout(axes="flat", num_codebooks=80), lambda codes: {"codes": codes.T.ravel().tolist()}),
    "ids of a vocabulary": (
        CodeLayout(axes="flat", num_codebooks=80, first_id=100, own_ids=True),
        lambda codes: {"codes": (codes + OFFSETS).T.ravel().tolist()},
    ),
    "one offset": (CodeLayout(axes="KT", first_id=7), lambda codes: {"codes": (codes + 7).tolist()}),
    "a field for each codebook": (
        CodeLayout(codes_field=",".join(f"c{k}" for k in range(80)), first_id=100, own_ids=True),
        lambda codes: {f"c{k}": row for k, row in enumerate((codes + OFFSETS).tolist())},
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_json_lines(tmp_path: Path, name: str) -> None:
    layout, fields = LAYOUTS[name]
    rows = [{"id": key, "text": "left", **fields(codes)} for key, codes in CODES.items()]
    rows[2]["num_samples"] = 320 * 7 - 5
    source = lines(tmp_path / "codes.jsonl", *rows)
    import_tokens(source, tmp_path / "out", tokenizer=NAME, layout=layout)
    check(tmp_path / "out", {"u2": 320 * 7 - 5})


GOOD: dict[str, Any] = {"id": "a", "codes": [[1, 2]] * 80}


@pytest.mark.parametrize(
    ("row", "layout", "sentence"),
    [
        ({"id": "b"}, {}, r"line 2 lacks the field 'codes'; it has: 'id'"),
        ({"id": "b", "codes": [[1, 2], [3]]}, {}, r"line 2 \('b'\) must hold whole numbers in a rectangular array"),
        ({"id": "b", "codes": [[1.5]]}, {}, "line 2 .* must hold whole numbers"),
        ({"id": "b", "codes": []}, {}, "line 2 .* must hold whole numbers"),
        ({"id": "b", "codes": [[2**70]]}, {}, "line 2 .* must hold whole numbers"),
        ({"id": "b", "codes": [[1, 16]] * 80}, {}, r"line 2 .* the id 16 in codebook 0, frame 1, outside \[0, 16\)"),
        ({"id": "b", "codes": [[1, -1]] * 80}, {}, "line 2 .* has the id -1 in codebook 0"),
        ({"id": "b", "codes": [[1, 2]] * 81}, {}, "line 2 .* has 81 codebooks, but must have 80"),
        ({"id": "b", "codes": [1, 2]}, {"axes": "KT", "num_codebooks": 80}, "which does not go with --axes KT"),
        ({"id": "a", "codes": [[1, 2]] * 80}, {}, "line 2 .* repeats the key"),
        ({"id": 3, "codes": [[1, 2]] * 80}, {}, "line 2 must have a text as 'id', got 3"),
        ({"id": "b", "codes": [[1, 2]] * 80, "num_samples": 5000}, {}, "2 frames, which do not fit the 5000 samples"),
        ({"id": "b", "codes": [[1, 2]] * 80, "num_samples": True}, {}, "a whole number from 1 as 'num_samples'"),
        ([1], {}, "line 2 must be a JSON object, but is list"),
    ],
)  # fmt: skip
def test_lines_that_are_refused(tmp_path: Path, row: Any, layout: dict[str, Any], sentence: str) -> None:
    source = lines(tmp_path / "codes.jsonl", GOOD, row)
    with pytest.raises(DatasetError, match=sentence):
        import_tokens(source, tmp_path / "out", tokenizer=NAME, layout=CodeLayout(**{"axes": "KT", **layout}))
    assert not (tmp_path / "out").exists()


def test_the_axes_are_never_guessed(tmp_path: Path) -> None:
    source = lines(tmp_path / "codes.jsonl", GOOD)
    with pytest.raises(
        DatasetError, match=r"line 1 .* of shape \(80, 2\); say which .* with --axes KT or --axes TK"
    ):
        import_tokens(source, tmp_path / "out", tokenizer=NAME)
    source = lines(tmp_path / "codes.jsonl", {"id": "a", "codes": [1] * 81})
    with pytest.raises(
        DatasetError, match=r"line 1 .* has 81 codes, which are no whole frames of 80 codebooks"
    ):
        import_tokens(
            source, tmp_path / "out", tokenizer=NAME, layout=CodeLayout(axes="flat", num_codebooks=80)
        )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no array",
        b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<i8', 'fortran_order': False, 'shape': (80, 100000000000), }".ljust(117) + b"\n",
        b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': (80, 2), }".ljust(117) + b"\n" + b"x" * 999,
    ],
)  # fmt: skip
def test_files_that_are_no_array(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(DatasetError, match=r"a\.npy is not a plain \.npy array"):
        import_tokens(tmp_path / "a.npy", tmp_path / "out", tokenizer=NAME, layout=CodeLayout(axes="KT"))


def test_a_layout_that_is_known_is_not_chosen(tmp_path: Path) -> None:
    (tmp_path / "codecs.txt").write_text("a [[[1]]]\n")
    with pytest.raises(DatasetError, match=r"neither \.jsonl nor \.npy"):
        import_tokens(tmp_path / "codecs.txt", tmp_path / "out", tokenizer=NAME, layout=CodeLayout(axes="KT"))
