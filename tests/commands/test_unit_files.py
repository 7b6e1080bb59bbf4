"""Dataset of units → lists → the same dataset, and lists that other programs wrote."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import speechtok
from speechtok.cli.main import run
from speechtok.commands.export_units import Division, export_units
from speechtok.commands.import_tokens import import_tokens
from speechtok.commands.tokenize import tokenize_corpus
from speechtok.engine.settings import RunSettings
from speechtok.errors import DatasetError
from speechtok.formats.split_rule import divide
from speechtok.shards.layout import Layout
from speechtok.shards.verify import verify
from tests.tokenizers.units.folder import make_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A composition of all parts."""
    torch.set_num_threads(1)
    return make_folder(tmp_path_factory.mktemp("all"), speaker="xvector", features="logmel")


@pytest.fixture(scope="module")
def dataset(folder, tmp_path_factory, write_corpus) -> Path:
    """Two splits; ids that are no paths."""
    corpus = write_corpus(
        tmp_path_factory.mktemp("corpus"), {"a/1.wav": 0.4, "2.wav": 0.73, "3.wav": 0.2, "4.wav": 0.33}
    )
    rows = [
        ("u1", "a/1.wav", "train"),
        ("u2", "2.wav", "dev"),
        ("u3", "3.wav", "train"),
        ("u4", "4.wav", "dev"),
    ]
    lines = [json.dumps({"id": key, "audio": audio, "split": split}) for key, audio, split in rows]
    (corpus / "all.jsonl").write_text("\n".join(lines))
    out = corpus / "out"
    tokenize_corpus(corpus / "all.jsonl", out, tokenizer=str(folder), run=RunSettings(workers=1))
    return out


def same(first: Path, again: Path) -> None:
    """Both hold the same tokens under the same ids, and the second is intact."""
    assert not verify(Layout(again)).problems
    one, two = speechtok.TokenDataset(first), speechtok.TokenDataset(again)
    places = {row["id"]: index for index, row in enumerate(two)}
    assert len(places) == len(one)
    for index, row in enumerate(one):
        assert two.tokens(places[row["id"]]).equals(one.tokens(index))


@pytest.mark.parametrize("deduplicate", [False, True])
def test_named_units_there_and_back(dataset, folder, tmp_path, deduplicate) -> None:
    assert export_units(dataset, tmp_path / "files", deduplicate=deduplicate) == 4
    assert import_tokens(tmp_path / "files" / "units.txt", tmp_path / "again", tokenizer=str(folder)) == 4
    same(dataset, tmp_path / "again")
    names = {"units.txt", "units.pitch.txt", "units.speaker.ark", "units.speaker.scp", "utt2num_samples"}
    assert {path.name for path in (tmp_path / "files").iterdir()} == names | (
        {"units.durations.txt"} if deduplicate else set()
    )
    lines = (tmp_path / "files" / "units.txt").read_text().splitlines()
    rows = {row["id"]: row["content"][0] for row in speechtok.TokenDataset(dataset)}
    for line in lines:
        key, text = line.split("|")
        units = np.array(text.split(), int)
        if deduplicate:
            assert (np.diff(units) != 0).all()
            assert 1 < len(units) < len(rows[key])
        else:
            assert np.array_equal(units, rows[key])


def test_dictionaries_there_and_back(dataset, folder, tmp_path) -> None:
    assert export_units(dataset, tmp_path / "files", to="unit-dicts", audio_root="/root") == 4
    lists = {path.name: path.read_text() for path in (tmp_path / "files").glob("*.txt")}
    assert set(lists) == {"dev.txt", "train.txt"}
    assert lists["train.txt"].startswith("{'audio': '/root/a/1.wav', 'codes': '")
    assert lists["train.txt"].count("\n") == 1
    assert import_tokens(tmp_path / "files", tmp_path / "again", tokenizer=str(folder)) == 4
    same(dataset, tmp_path / "again")
    assert len(speechtok.TokenDataset(tmp_path / "again", split="dev")) == 2
    assert speechtok.TokenDataset(tmp_path / "again", split="train")[0]["audio"] == "/root/a/1.wav"


def test_unfinished(dataset, tmp_path) -> None:
    """One shard of two of the split `dev` is missing."""
    shutil.copytree(dataset, tmp_path / "partial")
    (tmp_path / "partial" / "manifest.parquet").unlink()  # as files from elsewhere
    (tmp_path / "partial" / ".speechtok" / "plan.json").unlink()
    shard = tmp_path / "partial" / "data" / "dev-00000-of-00001.parquet"
    shard.rename(shard.with_name("dev-00000-of-00002.parquet"))
    division = Division(held_out=0.25)
    for to, options in (("units", {}), ("unit-dicts", {}), ("unit-dicts", {"division": division})):
        folder = tmp_path / f"{to}{len(options)}"
        with pytest.raises(DatasetError, match="1 of 2 of split 'dev' are missing"):
            export_units(tmp_path / "partial", folder, to=to, **options)
        assert export_units(tmp_path / "partial", folder, to=to, allow_partial=True, **options) == 4


def test_division_into_lists(dataset, folder, tmp_path) -> None:
    export_units(dataset, tmp_path / "files", to="unit-dicts", division=Division(held_out=0.25))
    wanted = divide([row["id"] for row in speechtok.TokenDataset(dataset)], 0.25)
    for split in ("train", "val", "test"):
        own = [key for key in wanted if wanted[key] == split]
        text = (tmp_path / "files" / f"{split}.txt").read_text()
        assert len(text.splitlines()) == len(own)
        assert all(f"'id': '{key}'" in text for key in own)
    import_tokens(tmp_path / "files", tmp_path / "again", tokenizer=str(folder))
    same(dataset, tmp_path / "again")
    export_units(dataset, tmp_path / "like", to="unit-dicts", division=Division(like=tmp_path / "files"))
    for split in ("train", "val", "test"):
        assert (tmp_path / "like" / f"{split}.txt").read_text() == (
            tmp_path / "files" / f"{split}.txt"
        ).read_text()


def test_units_of_others_have_no_pitch(folder, tmp_path) -> None:
    (tmp_path / "km.txt").write_text("a|" + " ".join(["3"] * 40) + "\nb|1 2\n")
    import_tokens(tmp_path / "km.txt", tmp_path / "out", tokenizer=str(folder), split="test")
    rows = speechtok.TokenDataset(tmp_path / "out", split="test")
    assert [stream.name for stream in rows.info.streams] == ["content"]
    assert rows.tokens(0)["content"].tolist() == [[[3] * 40]]
    tokenizer = speechtok.load_tokenizer(folder)
    assert tokenizer.num_frames(rows[0]["num_samples"], "content") == 40


def test_commands(dataset, folder, tmp_path, capsys) -> None:
    files = tmp_path / "files"
    assert run(["export", str(dataset), str(files), "--to", "units", "--deduplicate"]) == 0
    assert f"Wrote 4 utterances to {files / 'units.txt'}." in capsys.readouterr().out
    assert run(["import", str(files / "units.txt"), str(tmp_path / "again"), "--tokenizer", str(folder)]) == 0
    assert f"{tmp_path / 'again'}: 4 utterances." in capsys.readouterr().out
    same(dataset, tmp_path / "again")
    dicts = ["export", str(dataset), str(tmp_path / "dicts"), "--to", "unit-dicts"]
    assert run([*dicts, "--held-out", "0.05"]) == 0
    assert f"Wrote 4 utterances to {tmp_path / 'dicts'}." in capsys.readouterr().out
    for words, sentence in (
        ([*dicts, "--all-frames"], "--all-frames does not go with --to unit-dicts."),
        (
            [*dicts, "--held-out", "0.1", "--divide-like", str(files)],
            "either by --held-out or by --divide-like",
        ),
        (
            ["export", str(dataset), "--to", "funcodec-codecs", "--deduplicate"],
            "--deduplicate does not go with",
        ),
        ([*dicts, "--deduplicate"], "unit-dicts keep repeated units; merge them with the format units"),
        (
            ["export", str(dataset), "--to", "units", "--audio-root", "x"],
            "go with the format unit-dicts, not with units",
        ),
    ):
        assert run(words) == 2
        assert sentence in capsys.readouterr().err
    assert run([*dicts, "--held-out", "0.05"]) == 1
    assert "exists already; export into another folder." in capsys.readouterr().err


BAD = {
    "a|1 20\n": r"line 1 \('a'\) holds codes of content from 1 to 20, outside \[0, 20\)",
    "a|-1\n": r"holds codes of content from -1 to -1",
    "a|1\na|2\n": r"line 2 \('a'\) repeats the name of .*line 1; names must be unique",
    "{'audio': 'a', 'codes': '1 2', 'duration': 1.0}": r"has 2 units, but 'test_units' makes 98 of 16,000 samples",
    "{'audio': 'a', 'codes': '1 2', 'duration': 0.0375, 'pitch': '1'}": "has 1 pitch codes, but 'test_units' makes at most 0 of 600",
    "{'audio': 'a', 'codes': '1', 'pitch': ''}\n{'audio': 'b', 'codes': '1'}": r"line 2 \('b'\) must have pitch codes",
    "\n": "holds no utterance",
}


@pytest.mark.parametrize("text", BAD)
def test_bad_lists_are_named(folder, tmp_path, text) -> None:
    (tmp_path / "x.txt").write_text(text)
    with pytest.raises(DatasetError, match=BAD[text]):
        import_tokens(tmp_path / "x.txt", tmp_path / "out", tokenizer=str(folder))
    assert not (tmp_path / "out").exists()


def test_files_beside_a_list_must_follow_it(dataset, folder, tmp_path) -> None:
    files = tmp_path / "files"
    export_units(dataset, files, deduplicate=True)

    def attempt(name: str, text: str, sentence: str) -> None:
        before = (files / name).read_text()
        (files / name).write_text(text)
        with pytest.raises(DatasetError, match=sentence):
            import_tokens(files / "units.txt", tmp_path / "out", tokenizer=str(folder))
        (files / name).write_text(before)

    pitch, durations = ((files / f"units.{name}.txt").read_text() for name in ("pitch", "durations"))
    first = durations.split("|")[0]
    attempt("units.pitch.txt", "", "needs the same line in .*pitch.txt, which ends there")
    attempt("units.pitch.txt", pitch + "z|1\n", "goes on with 'z' after the end of its list")
    attempt("units.pitch.txt", "z|1\n", "which has 'z' there")
    rest = durations.split("\n", 1)[1]
    attempt(
        "units.durations.txt", f"{first}|1\n{rest}", "must hold one duration of at least 1 for each of the"
    )


def test_other_mistakes(dataset, folder, tmp_path, write_corpus) -> None:
    corpus = write_corpus(tmp_path / "corpus", {"a.wav": 0.3})
    tokenize_corpus(corpus, tmp_path / "mel", run=RunSettings(workers=1))
    with pytest.raises(DatasetError, match="holds tokens of 'dmel_16k', which are no units"):
        export_units(tmp_path / "mel", tmp_path / "files")
    (tmp_path / "lists").mkdir()
    with pytest.raises(DatasetError, match=r"holds no lists of units: there is no file SPLIT\.txt in it"):
        import_tokens(tmp_path / "lists", tmp_path / "out", tokenizer=str(folder))
    (tmp_path / "lists" / "my-list.txt").write_text("a|1\n")
    with pytest.raises(DatasetError, match=r"my-list\.txt cannot name a split"):
        import_tokens(tmp_path / "lists", tmp_path / "out", tokenizer=str(folder))
    units_only = make_folder(tmp_path / "only", speaker=None, features="logmel")
    export_units(dataset, tmp_path / "files", deduplicate=False)
    with pytest.raises(DatasetError, match="has pitch codes, which tokenizer 'test_units' does not make"):
        import_tokens(tmp_path / "files" / "units.txt", tmp_path / "out", tokenizer=str(units_only))
    (tmp_path / "files" / "units.pitch.txt").unlink()
    with pytest.raises(
        DatasetError, match="has speaker vectors of 512 channels, but those of 'test_units' have none"
    ):
        import_tokens(tmp_path / "files" / "units.txt", tmp_path / "out", tokenizer=str(units_only))
