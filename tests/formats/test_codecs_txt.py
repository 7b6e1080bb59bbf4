import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechtok.errors import DatasetError
from speechtok.formats.codecs_txt import codecs_line, parse_codecs_line, read_codecs

EXAMPLES = Path(__file__).parents[1] / "goldens" / "funcodec" / "example_files"


@pytest.mark.parametrize("name", ["enc_text_q4", "enc_text_q32", "enc_text_q4_batch3"])
def test_written_files_come_back_byte_for_byte(name: str) -> None:
    path = EXAMPLES / name / "codecs.txt"
    found = list(read_codecs(path))
    assert [(number, key) for number, key, _ in found] == [(1, "utt1"), (2, "utt2"), (3, "utt3")]
    assert [codes.shape[1] for _, _, codes in found] == [25, 17, 11]
    assert "".join(codecs_line(key, codes) for _, key, codes in found) == path.read_text()


@given(st.integers(1, 5), st.integers(1, 7), st.integers(0, 99))
def test_lines_read_back(codebooks: int, frames: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 1024, (codebooks, frames))
    key, again = parse_codecs_line(codecs_line("ab-ä", codes), "x")
    assert key == "ab-ä"
    assert np.array_equal(again, codes)


def test_two_dimensions_are_read_as_one_segment(tmp_path: Path) -> None:
    (tmp_path / "codecs.txt").write_text("\na [[1, 2], [3, 4]]\n")
    assert [(n, k, c.tolist()) for n, k, c in read_codecs(tmp_path / "codecs.txt")] == [
        (2, "a", [[1, 2], [3, 4]])
    ]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("a", "must be 'key codes', got 'a'"),
        ("a [[[1, 2]", "('a') holds no JSON"),
        ("a [[[1, 2], [3]]]", "('a') must hold whole numbers of shape (1, codebooks, frames)"),
        ("a [[[1.5, 2]]]", "must hold whole numbers"),
        ("a []", "must hold whole numbers"),
        ('a "x"', "must hold whole numbers"),
        ("a [[[1]], [[2]]]", "('a') holds 2 segments"),
        ("a [[[]]]", "must hold whole numbers"),
    ],
)
def test_corrupt_lines_are_named_by_number(tmp_path: Path, line: str, sentence: str) -> None:
    path = tmp_path / "codecs.txt"
    path.write_text(f"good [[[1]]]\n{line}\n")
    with pytest.raises(DatasetError, match=re.escape(sentence)) as caught:
        list(read_codecs(path))
    assert str(caught.value).startswith(f"{path} line 2")


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="There is no file"):
        list(read_codecs(tmp_path / "none"))
    (tmp_path / "codecs.txt").write_bytes(b"a [[[1]]]\n\xff [[[1]]]\n")
    with pytest.raises(DatasetError, match="line 2 is not UTF-8"):
        list(read_codecs(tmp_path / "codecs.txt"))


@pytest.mark.parametrize("key", ["", "a b", "a\tb"])
def test_keys_that_would_break_a_line(key: str) -> None:
    with pytest.raises(DatasetError, match=r"cannot be a key of codecs\.txt"):
        codecs_line(key, np.zeros((1, 1), np.int64))
