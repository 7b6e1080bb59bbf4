"""What a job writes, and what Ray is told, holds no secret."""

import json
import shutil
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from speechtok.cli import main
from speechtok.commands.tokenize import tokenize_corpus
from speechtok.engine.settings import JobSettings, RunSettings
from speechtok.engine.worker import ShardWorker
from speechtok.errors import JobError
from speechtok.tokenizers.dmel.tokenizer import DMelTokenizer

TOKEN = "hf_QwErTyUiOpAsDfGhJkLz"
VARIABLES = {
    "MY_API_TOKEN": "sesame-sesame",
    "PROXY": "http://me:sesame-too@proxy:80",
    "PLAIN": "abc",
    "HF_TOKEN": None,
}


@pytest.fixture
def corpus(tmp_path, write_corpus):
    return write_corpus(tmp_path / "corpus", {"a.wav": 0.4})


def texts(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    tables = [str(pq.read_table(path).to_pylist()) for path in files if path.suffix == ".parquet"]
    return "".join(tables + [path.read_text() for path in files if path.suffix in (".json", ".jsonl", ".md")])


def test_variables_of_the_runtime_environment(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    run = RunSettings(runtime_env={"pip": ["x"], "env_vars": VARIABLES}, ray_address="ray://me:sesame@host:1")
    told, secrets = run.ray_environment()
    assert told == {"pip": ["x"], "env_vars": {"PLAIN": "abc"}}
    assert secrets == {name: VARIABLES[name] for name in ("MY_API_TOKEN", "PROXY")} | {"HF_TOKEN": TOKEN}
    noted = run.to_dict()
    assert noted["runtime_env"] == {"pip": ["x"], "env_vars": sorted(VARIABLES)}
    assert noted["ray_address"] == "ray://…@host:1"
    assert RunSettings().ray_environment() == ({}, {})
    assert RunSettings().to_dict()["runtime_env"] is None


def test_runtime_environments_that_are_refused(monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    for environment, message in (
        ({"env_vars": {"HF_TOKEN": None}}, "takes HF_TOKEN from the environment, where it is not set"),
        (
            {"pip": ["--index-url", "https://me:sesame@host/simple"]},
            "holds credentials in 'pip', which Ray would write",
        ),
        ({"env_vars": ["HF_TOKEN"]}, "needs a mapping of names to values"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            RunSettings(runtime_env=environment)
        assert "sesame" not in str(caught.value)


def test_a_message_with_a_secret(corpus, tmp_path, monkeypatch):
    """Neither the quarantine nor the journal tells what an error told."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)

    def fail(*arguments, **options):
        raise ValueError(f"refused with {TOKEN[:15]} and http://me:sesame@host/x")

    monkeypatch.setattr(DMelTokenizer, "encode", fail)
    with pytest.raises(JobError, match=r"refused with \$HF_TOKEN and http://…@host/x"):
        tokenize_corpus(corpus, tmp_path / "out", run=RunSettings(workers=1), settings=JobSettings())
    rows = pq.read_table(tmp_path / "out" / "quarantine" / "train.parquet").to_pylist()
    assert [row["message"] for row in rows] == ["refused with $HF_TOKEN and http://…@host/x"]
    written = texts(tmp_path / "out")
    assert "refused with $HF_TOKEN" in written
    assert TOKEN[:10] not in written
    assert "sesame" not in written


def test_status_of_a_job_that_failed(corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DB_PASSWORD", "sesame-sesame")

    def fail(*arguments):
        raise JobError("no room behind http://me:sesame-sesame@host/x")

    monkeypatch.setattr(ShardWorker, "begin", fail)
    assert main.run(["tokenize", str(corpus), str(tmp_path / "out"), "--workers", "1", "--verbose"]) == 1
    assert main.run(["status", str(tmp_path / "out")]) == 0
    assert main.run(["status", str(tmp_path / "out"), "--json"]) == 0
    said = capsys.readouterr()
    assert "no room behind http://" in said.err
    assert "no room behind http://" in said.out
    assert "sesame" not in said.out + said.err + texts(tmp_path / "out")


@pytest.mark.ray
def test_ray_is_told_no_secret(corpus, monkeypatch):
    """Neither the dataset nor any log of Ray holds one; a variable without one is Ray's own business."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as place:
        monkeypatch.setenv("RAY_TMPDIR", place)
        environment = {"env_vars": VARIABLES | {"PLAIN": "a-plain-value"}}
        tokenize_corpus(
            corpus, f"{place}/out", run=RunSettings(executor="ray", workers=1, runtime_env=environment)
        )
        about = json.loads(Path(place, "out", ".speechtok", "job.json").read_text())["about"]
        assert about["runtime_env"]["env_vars"] == sorted(VARIABLES)
        content = b"".join(path.read_bytes() for path in Path(place).rglob("*") if path.is_file())
        assert b"a-plain-value" in content
        for secret in ("sesame", TOKEN):
            assert secret.encode() not in content
        shutil.rmtree(place, ignore_errors=True)
