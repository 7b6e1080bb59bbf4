import json
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechtok.audio.io import write_wav
from speechtok.commands.decode import decode_dataset, wav_path
from speechtok.commands.tokenize import tokenize_corpus
from speechtok.engine.settings import RunSettings
from speechtok.errors import CheckpointError, DatasetError
from speechtok.loading import load_tokenizer
from speechtok.shards.reader import TokenDataset

ODD_IDS = (
    "../../outside",
    "/absolute",
    "line\nbreak",
    "a",
    "a.wav/b",
    "a.wav",
    "x/../y",
    "..",
    "x//y",
    "ä ж",
)


def corpus_of(folder, ids):
    """Write a manifest corpus whose rows have the given ids."""
    folder.mkdir()
    lines = []
    for number, name in enumerate(ids):
        tone = 0.3 * np.sin(np.arange(4000 + 100 * number) * (0.05 + 0.01 * number))
        write_wav(folder / f"{number}.wav", tone, 16000)
        lines.append(json.dumps({"audio": f"{number}.wav", "id": name}))
    (folder / "all.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder / "all.jsonl"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("decode")
    tokenize_corpus(corpus_of(folder / "corpus", ODD_IDS), folder / "tokens", run=RunSettings(workers=1))
    return folder / "tokens"


def test_every_row_becomes_the_file_its_tokens_stand_for(dataset, tmp_path):
    seen = {}
    assert decode_dataset(dataset, tmp_path / "wav", on_row=seen.__setitem__) == len(ODD_IDS)
    assert set(seen) == set(ODD_IDS)
    files = [path for path in (tmp_path / "wav").rglob("*") if path.is_file()]
    assert sorted(seen.values()) == sorted(files)
    assert list(tmp_path.iterdir()) == [tmp_path / "wav"]
    rows, tokenizer = TokenDataset(dataset), load_tokenizer("dmel_16k")
    for index, row in enumerate(rows):
        with wave.open(str(wav_path(tmp_path / "wav", row["id"]))) as file:
            assert (file.getframerate(), file.getnframes()) == (16000, row["num_samples"])
            stored = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768
        fresh = tokenizer.decode(rows.tokens(index))[0].numpy()
        assert np.abs(stored - fresh).max() < 1e-3


def test_a_selection_is_decoded(dataset, tmp_path):
    assert decode_dataset(dataset, tmp_path, ids=["a", ".."]) == 2
    assert sorted(path.name for path in tmp_path.rglob("*.wav")) == ["%2E..wav", "a.wav"]
    assert decode_dataset(dataset, tmp_path / "few", limit=3, split="train") == 3
    assert decode_dataset(dataset, tmp_path / "none", ids=[]) == 0


def test_a_single_file_of_tokens_is_enough(dataset, tmp_path):
    (file,) = (dataset / "data").glob("*.parquet")
    assert decode_dataset(file, tmp_path, limit=1) == 1


def test_absent_ids_are_named(dataset, tmp_path):
    with pytest.raises(DatasetError, match=r"no row with the id 'nobody' \(2 of 3 ids are not there\)"):
        decode_dataset(dataset, tmp_path / "wav", ids=["a", "nobody", "nowhere"])
    assert not (tmp_path / "wav").exists()


def test_wrong_arguments_are_named(dataset, tmp_path):
    with pytest.raises(ValueError, match="`limit` must be at least 0, got -1"):
        decode_dataset(dataset, tmp_path, limit=-1)
    with pytest.raises(DatasetError, match="no split 'test'; it has: train"):
        decode_dataset(dataset, tmp_path, split="test")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("a/b.flac", "a/b.flac.wav"),
        ("p225/p225_001", "p225/p225_001.wav"),
        ("../x", "%2E./x.wav"),
        ("/etc/passwd", "%2F/etc/passwd.wav"),
        ("a//b", "a/%2F/b.wav"),
        ("", "%2F.wav"),
        (".hidden", "%2Ehidden.wav"),
        ("100%", "100%25.wav"),
        ("a\\b\n", "a%5Cb%0A.wav"),
        ("x.flac:1.000-2.000", "x.flac%3A1.000-2.000.wav"),
        ("ärger/ж", "ärger/ж.wav"),
        ("a.wav/b", "a%2Ewav/b.wav"),
    ],
)
def test_ids_become_paths(name, file):
    assert wav_path(Path("out"), name) == Path("out", file)


def test_long_names_stay_apart_and_fit():
    first, second = (wav_path(Path("out"), "x" * 5000 + end) for end in "ab")
    assert first != second
    assert max(len(part.encode()) for part in first.parts) < 230


names = st.text(st.sampled_from("ab/.%\\\n:~ 2FE") | st.characters(codec="utf-8"), max_size=20)


@given(names, names)
def test_different_ids_have_different_paths_inside_the_folder(one, other):
    folder = Path("/out")
    paths = [wav_path(folder, name) for name in (one, other)]
    for path in paths:
        assert path.is_relative_to(folder)
        assert not {"", ".", ".."} & set(path.parts[1:])
        assert "\n" not in str(path)
        assert "\0" not in str(path)
    assert (paths[0] == paths[1]) == (one == other)
    assert paths[0] not in paths[1].parents


def test_missing_checkpoints_are_the_loaders_to_name(dataset, tmp_path, monkeypatch):
    def fail(name, **options):
        raise CheckpointError(f"no files in {options['checkpoint']}")

    monkeypatch.setattr("speechtok.loading.load_tokenizer", fail)
    with pytest.raises(CheckpointError, match="no files in weights"):
        decode_dataset(dataset, tmp_path, checkpoint="weights")
