"""Every shipped recipe runs dry on a miniature of its corpus; `--set` and the section `ray` reach the job."""

import json
from pathlib import Path

import pytest

import speechtok
from speechtok.cards import read_recipe
from speechtok.cli import main
from speechtok.errors import CardError

FOLDER = Path(speechtok.__file__).parents[1] / "pipelines"
RECIPES = sorted(FOLDER.glob("*.y*ml"))
CORPORA = {
    "folder_dmel": ("folder", 2, {"train"}),
    "podcasts_dmel": ("folder", 2, {"train"}),
    "ljspeech_dmel": ("ljspeech", 2, {"train"}),
    "librispeech_facodec": ("librispeech", 6, {"train.clean.100", "dev.other"}),
    "common_voice_facodec": ("common_voice", 2, {"train", "dev"}),
    "emilia_facodec": ("emilia", 3, {"train"}),
    "libritts_funcodec": ("libritts", 4, {"dev.clean", "test.clean"}),
    "libritts_naturalspeech3": ("libritts", 4, {"dev.clean", "test.clean"}),
    "libritts_valle": ("libritts", 4, {"dev.clean", "test.clean"}),
    "vctk_hubert_units": ("vctk", 4, {"train"}),
}


def run(capsys, *words):
    code = main.run([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_dry_run_on_a_miniature(path, miniature, capsys, tmp_path):
    name, utterances, splits = CORPORA[path.stem]
    corpus = miniature(name)
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run(
        capsys, "run", path.stem, "--corpus", corpus, "--plan-only", "--json", "--speed", 10, "--price", 2
    )
    assert code == 0, err
    found = json.loads(out)
    assert (found["utterances"], set(found["splits"])) == (utterances, splits)
    assert found["unknown_length"] == 0
    assert 0.3 * utterances <= found["seconds"] <= 0.45 * utterances
    assert found["shards"] == sum(split["shards"] for split in found["splits"].values()) >= len(splits)
    assert found["token_bytes"] > 0
    assert found["worker_hours"] == pytest.approx(found["seconds"] / 10 / 3600)
    assert found["wall_hours"] == pytest.approx(found["worker_hours"] / found["workers"])
    assert found["cost"] == pytest.approx(2 * found["worker_hours"])
    assert (found["speed_from"], found["measured_seconds"]) == ("given", 0)
    assert sorted(tmp_path.rglob("*")) == before  # nothing was written
    assert path.read_text().startswith(f"# speechtok run pipelines/{path.name} --corpus ")
    assert f"| `{path.stem}` |" in (FOLDER / "README.md").read_text()


def test_every_recipe_has_a_miniature():
    assert set(CORPORA) == {path.stem for path in RECIPES}


@pytest.mark.parametrize("name", ["librispeech_facodec", "common_voice_facodec", "emilia_facodec"])
def test_a_recipe_with_another_tokenizer(name, miniature, capsys, tmp_path):
    corpus = miniature(CORPORA[name][0])
    options = ("--set", "tokenizer=dmel_16k", "--set", "executor=local")
    code, _, err = run(capsys, "run", name, "--corpus", corpus, "--output", tmp_path / "out", *options)
    assert code == 0, err
    rows = list(speechtok.TokenDataset(tmp_path / "out"))
    assert len(rows) == CORPORA[name][1]
    assert all(row["speaker"] and row["language"] for row in rows)
    assert any(row["text"] for row in rows)


def test_measured_speed(miniature, capsys):
    corpus = miniature("folder")
    code, out, err = run(capsys, "tokenize", corpus, "out", "--plan-only", "--json", "--num-codebooks", 8)
    assert code == 0, err
    found = json.loads(out)
    assert found["speed_from"] == "measured"
    assert 0.6 < found["measured_seconds"] < 0.8
    assert found["speed"] > 0
    assert found["token_bytes"] == pytest.approx(found["seconds"] * 8 * 4 * 50 / 8)
    (corpus / "a" / "1.wav").write_text("text")
    (corpus / "b.flac").write_text("text")
    code, _, err = run(capsys, "tokenize", corpus, "out", "--plan-only")
    assert (code, "the speed cannot be measured; state it with --speed" in err) == (1, True)


def test_a_high_speed_is_printed_as_a_number(miniature, capsys):
    arguments = ("run", "librispeech_facodec", "--corpus", miniature("librispeech"), "--plan-only")
    assert "at 1890 × real time" in run(capsys, *arguments, "--speed", 1890)[1]
    assert "at 18,900 × real time" in run(capsys, *arguments, "--speed", 18900)[1]


def test_printed_plan(miniature, capsys):
    code, out, err = run(
        capsys, "run", "librispeech_facodec", "--corpus", miniature("librispeech"), "--plan-only", "--speed", 20,
        "--price", 1.5,
    )  # fmt: skip
    assert code == 0, err
    assert [line.split(maxsplit=1)[0] for line in out.splitlines()] == (
        ["corpus", "labels", "dev.other", "train.clean.100", "shards", "tokens", "time", "cost"]
    )
    assert "librispeech: 6 utterances, 2.4 s" in out
    assert "at 20 × real time (given)" in out


def test_options_of_a_dry_run_alone(miniature, capsys):
    for option in (("--speed", 3), ("--price", 1), ("--json",)):
        code, _, err = run(capsys, "tokenize", miniature("folder"), "out", *option)
        assert (code, "--speed, --price and --json go with --plan-only" in err) == (2, True)
    code, _, err = run(capsys, "run", "folder_dmel", "--corpus", FOLDER)
    assert (code, "names no output; give --output" in err) == (2, True)


@pytest.fixture
def recipe(tmp_path):
    def write(text):
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return path

    return write


def test_fields_are_set(recipe):
    path = recipe("tokenizer: facodec\nray:\n  workers: 2\n")
    assert read_recipe(path).arguments() == {"tokenizer": "facodec", "workers": 2}
    changes = ["tokenizer=x=y", "ray.address=head:6379", "batch_seconds=30", "columns.text=sentence"]
    assert read_recipe(path, changes).arguments() == {
        "tokenizer": "x=y",
        "workers": 2,
        "ray_address": "head:6379",
        "batch_seconds": 30.0,
        "columns": {"text": "sentence"},
    }


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("tokenizer", "A field is set as NAME=VALUE, such as .*, not as 'tokenizer'"),
        ("ray.=3", "not as 'ray.=3'"),
        ("=3", "not as '=3'"),
        ("batch_seconds=soon", "has 'soon' in field batch_seconds, which must be of type"),
        ("bach_seconds=3", "has the unknown field bach_seconds; did you mean 'batch_seconds'"),
        ("ray.wrokers=3", "has the unknown field"),
        ("columns={", "'columns={' holds no YAML value"),
    ],
)
def test_what_cannot_be_set(recipe, change, sentence):
    with pytest.raises(CardError, match=sentence):
        read_recipe(recipe("tokenizer: facodec\n"), [change])


def test_annotations_follow_tokenizing(tmp_path, monkeypatch):
    import numpy as np
    import soundfile

    from speechtok import TokenDataset
    from speechtok.cli import main

    (tmp_path / "corpus").mkdir()
    soundfile.write(tmp_path / "corpus/a.wav", np.sin(np.arange(16000) / 5) / 2, 16000)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "tokenizer: dmel_16k\nannotate: [quality]\nannotation_settings: {quality: {silence_db: 30}}\n"
    )
    given = [str(recipe), "--corpus", str(tmp_path / "corpus"), "--workers", "1"]
    assert main.run(["run", *given, "--output", str(tmp_path / "out")]) == 0
    assert TokenDataset(tmp_path / "out")[0]["peak_dbfs"] == pytest.approx(-6.02, abs=0.01)
    assert "`silence_db = 30.0`" in (tmp_path / "out/README.md").read_text()
    assert main.run(["run", *given, "--output", str(tmp_path / "out")]) == 0
    assert main.run(["run", *given, "--output", "s3://bucket/out"]) == 2
    assert main.run(["run", *given, "--output", str(tmp_path / "new"), "--set", "annotate=[qualty]"]) == 2
    assert not (tmp_path / "new").exists()
