"""Lists of units: what is written is read, and what cannot be read is named."""

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechtok.errors import DatasetError
from speechtok.formats.split_rule import divide, divide_like
from speechtok.formats.unit_lines import UNIT_KEYS, dict_line, read_unit_lines, units_line

CODES = st.lists(st.integers(0, 2000), max_size=30)
NAMES = st.text(st.characters(exclude_categories=("Z", "C"), exclude_characters="|{"), min_size=1, max_size=9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("lists")


@given(st.dictionaries(NAMES, CODES, min_size=1, max_size=5))
def test_named_units_are_read_back(folder, utterances) -> None:
    path = folder / "units.txt"
    path.write_text("".join(units_line(key, codes) for key, codes in utterances.items()), encoding="utf-8")
    found = list(read_unit_lines(path))
    assert {item.key: item.units.tolist() for item in found} == utterances
    assert all(item.seconds is None and item.pitch is None for item in found)


@given(
    st.text(st.characters(exclude_categories=("Cs",))),
    CODES,
    st.none() | CODES,
    st.sampled_from(UNIT_KEYS),
    st.none() | NAMES,
)
def test_dictionaries_are_read_back(folder, audio, codes, pitch, unit_key, key) -> None:
    path = folder / "train.txt"
    line = dict_line(audio, np.array(codes, np.int64), 2.8, unit_key=unit_key, key=key, pitch=pitch)
    path.write_text(f"{line}\n{line}", encoding="utf-8")
    for item in read_unit_lines(path):
        assert (item.audio, item.key, item.seconds) == (audio, key or audio, 2.8)
        assert item.units.tolist() == codes
        assert (None if item.pitch is None else item.pitch.tolist()) == pitch


def test_the_published_forms() -> None:
    assert units_line("6313-76958-0021", [7, 7, 12]) == "6313-76958-0021|7 7 12\n"
    assert (
        dict_line("a/b.flac", np.array([71, 12]), 2.8)
        == "{'audio': 'a/b.flac', 'hubert': '71 12', 'duration': 2.8}"
    )


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("7 7 12", "must be 'name|units' or a dictionary with units, got '7 7 12'"),
        ("|7 7", "must be 'name|units'"),
        ("a|7 x", r"\('a'\) must hold units as whole numbers, got '7 x'"),
        ("a|99999999999999999999", "must hold units as whole numbers"),
        (
            "{'audio': 'a', 'text': 'x'}",
            r"\('a'\) holds no units: it has none of the keys cpc_km100, vqvae256",
        ),
        ("{'hubert': '1'}", "is no dictionary of plain values with the key 'audio'"),
        ("{'audio': 'a', 'hubert': '1'", "is no dictionary of plain values"),
        (
            "{'audio': 'a', 'hubert': '1', 'duration': -1}",
            "has the duration -1, which is no number of seconds",
        ),
        ("{'audio': 'a', 'hubert': '1', 'duration': open('ran', 'w')}", "is no dictionary of plain values"),
        ("{" * 500, "is no dictionary of plain values"),
    ],
)
def test_bad_lines_are_named_and_never_run(tmp_path, monkeypatch, line, sentence) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.txt").write_text(f"ok|1 2\n\n{line}\n")
    with pytest.raises(DatasetError, match=rf"x\.txt line 3 .*{sentence}"):
        list(read_unit_lines(Path("x.txt")))
    assert not Path("ran").exists()


def test_files_that_cannot_be_read(tmp_path) -> None:
    with pytest.raises(DatasetError, match=r"There is no file .*x\.txt"):
        list(read_unit_lines(tmp_path / "x.txt"))
    (tmp_path / "x.txt").write_bytes(b"a|1\n\xff\xfe|2\n")
    with pytest.raises(DatasetError, match="line 2 is not UTF-8 text"):
        list(read_unit_lines(tmp_path / "x.txt"))


@pytest.mark.parametrize("key", ["", "a b", "a|b", "a\n", "{a"])
def test_names_that_would_not_be_read_back(key) -> None:
    with pytest.raises(DatasetError, match="cannot be a name in a unit file"):
        units_line(key, [1])


@given(st.integers(0, 200), st.sampled_from([0.0, 0.05, 0.1, 0.5]), st.integers(0, 50))
def test_division_follows_the_published_rule(count, share, seed) -> None:
    keys = [f"k{number}" for number in range(count)]
    found = divide(keys, share, seed=seed)
    random.seed(seed)
    random.shuffle(keys)
    first, second = int(count * share), int(count * share + count * share)
    wanted = {"test": keys[:first], "val": keys[first:second], "train": keys[second:]}
    for split, own in wanted.items():
        assert [key for key in keys if found[key] == split] == own


def test_division_like_other_lists(tmp_path) -> None:
    for split, name in (("train", "a"), ("val", "b"), ("test", "c")):
        (tmp_path / f"{split}.txt").write_text(dict_line(f"old/{name}.wav", [1], 1.0))
    found = divide_like(["new/c.wav", "a.wav", "new/x/b.wav"], tmp_path)
    assert found == {"new/c.wav": "test", "a.wav": "train", "new/x/b.wav": "val"}
    with pytest.raises(
        DatasetError, match=r"'d\.wav' is in none of the lists in .*, so its split is not known"
    ):
        divide_like(["d.wav"], tmp_path)
    with pytest.raises(ValueError, match=r"`share` must be from 0 to 0\.5, got 0\.6"):
        divide([], 0.6)


def test_lines_that_would_take_all_memory_are_refused(tmp_path) -> None:
    lines = {
        "has the duration 1000000000.0, which is no number of seconds": "{'audio': 'a', 'hubert': '1', 'duration': 1e9}",
        "is no dictionary of plain values": "{'audio': 'a', 'x': " + "[" * 20_000,
        "is no dictionary of plain values with": "{'audio': 'a', 'hubert': '1', 'x': ["
        + "1," * 20_000
        + "]}",
    }
    for sentence, line in lines.items():
        (tmp_path / "x.txt").write_text(f"a|1\n{line}\n")
        with pytest.raises(DatasetError, match=f"line 2.*{sentence}"):
            list(read_unit_lines(tmp_path / "x.txt"))
    (tmp_path / "x.txt").write_text(f"{{'audio': 'a', 'hubert': '{'1 ' * 50_000}'}}")
    (line,) = read_unit_lines(tmp_path / "x.txt")
    assert len(line.units) == 50_000
