import os
import re
import struct
from pathlib import Path

import numpy as np
import pytest

from speechtok.errors import DatasetError
from speechtok.formats.kaldi_matrix import MatrixWriter, read_ark, read_scp
from speechtok.formats.table import read_table, write_table

EXAMPLES = Path(__file__).parents[1] / "goldens" / "funcodec" / "example_files"


@pytest.mark.parametrize("name", ["indices", "codec_emb"])
def test_written_files_come_back_byte_for_byte(tmp_path: Path, name: str) -> None:
    folder = EXAMPLES / "enc_ark_q2"
    found = list(read_ark(folder / f"{name}.ark"))
    assert [key for key, _ in found] == ["utt1", "utt2", "utt3"]
    assert [matrix.shape[0] for _, matrix in found] == [25, 17, 11]
    with MatrixWriter(tmp_path / "x.ark", tmp_path / "x.scp", ark_name=f"enc_ark_q2/{name}.ark") as writer:
        for key, matrix in found:
            writer.add(key, matrix)
    assert (tmp_path / "x.ark").read_bytes() == (folder / f"{name}.ark").read_bytes()
    assert (tmp_path / "x.scp").read_bytes() == (folder / f"{name}.scp").read_bytes()
    for (number, key, matrix), (again, same) in zip(read_scp(folder / f"{name}.scp"), found, strict=True):
        assert (number, key) == (int(again[-1]), again)
        assert np.array_equal(matrix, same)


def test_scp_in_another_folder() -> None:
    assert [key for _, key, _ in read_scp(EXAMPLES / "laura" / "codec_token.scp")] == ["utt1", "utt2", "utt3"]


def test_float64(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((3, 2))
    with MatrixWriter(tmp_path / "x.ark", tmp_path / "x.scp") as writer:
        writer.add("a", values)
    assert (tmp_path / "x.ark").read_bytes()[:7] == b"a \0BDM "
    assert np.array_equal(next(read_scp(tmp_path / "x.scp"))[2], values)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    ark, scp = tmp_path / "x.ark", tmp_path / "x.scp"
    with MatrixWriter(ark, scp) as writer:
        writer.add("a", np.zeros((2, 2)))
        writer.add("b", np.zeros((2, 2)))
        with pytest.raises(DatasetError, match="cannot be a Kaldi key"):
            writer.add("b c", np.zeros((2, 2)))
    ark.write_bytes(ark.read_bytes()[:-3])
    with pytest.raises(DatasetError, match=re.escape("record 2 ('b') is cut off: 2 × 2 values")):
        list(read_ark(ark))
    with pytest.raises(DatasetError, match=re.escape("line 2 ('b') is cut off")):
        list(read_scp(scp))
    for line, sentence in (
        ("a", "must be 'key path:offset'"),
        ("a x.ark", "must be 'key path:offset'"),
        ("a none.ark:3", "names none.ark, which is not there"),
        (f"a {ark}:0", "holds no binary float matrix"),
    ):
        scp.write_text(f"\n{line}\n")
        with pytest.raises(DatasetError, match=f"line 2.*{sentence}"):
            list(read_scp(scp))
    for path in (tmp_path / "none.ark", tmp_path / "none.scp"):
        with pytest.raises(DatasetError, match=r"There is no (archive|file)"):
            list(read_ark(path) if path.suffix == ".ark" else read_scp(path))


def test_tables(tmp_path: Path) -> None:
    rows = [("a", float(np.float32(0.1))), ("b", 1e-8)]
    write_table(tmp_path / "utt2scale", rows)
    assert read_table(tmp_path / "utt2scale", float) == dict(rows)
    assert read_table(tmp_path / "none", float) == {}
    (tmp_path / "bad").write_text("a 1\nb x\n")
    with pytest.raises(DatasetError, match="line 2 must be 'key value', got 'b x'"):
        read_table(tmp_path / "bad", float)


def test_what_is_announced_is_not_allocated(tmp_path: Path) -> None:
    """A header of 15 bytes may claim 2 ** 62 values, and a key have no end."""
    head = b"\0BFM " + struct.pack("<bibi", 4, 2**31 - 1, 4, 2**31 - 1)
    (tmp_path / "x.ark").write_bytes(b"a " + head)
    with pytest.raises(DatasetError, match=r"record 1 \('a'\) is cut off: 2147483647 × 2147483647 values"):
        list(read_ark(tmp_path / "x.ark"))
    (tmp_path / "x.ark").write_bytes(b"a" * 100_000)
    with pytest.raises(DatasetError, match=r"x\.ark has a key of more than 4,096 bytes"):
        list(read_ark(tmp_path / "x.ark"))
    (tmp_path / "x.scp").write_text(f"a x.ark:{'9' * 5000}\n")
    with pytest.raises(DatasetError, match="line 1 must be 'key path:offset'"):
        list(read_scp(tmp_path / "x.scp"))
    os.mkfifo(tmp_path / "pipe")
    for read in (read_ark, read_scp):
        with pytest.raises(DatasetError, match="is a named pipe"):
            list(read(tmp_path / "pipe"))
