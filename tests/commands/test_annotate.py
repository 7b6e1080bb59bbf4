"""Annotating: columns are added, codes stay, failures have reasons, interrupted work goes on to the same bytes."""

import json
import shutil
from dataclasses import dataclass, field

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

import speechtok
from speechtok.annotations import LOCAL, Annotation, Column
from speechtok.cli import main
from speechtok.commands import annotation_audio, annotation_files, annotation_plan
from speechtok.commands.tokenize import retry_quarantined
from speechtok.engine.settings import JobSettings, RunSettings
from speechtok.errors import AnnotationError, DatasetError, JobError
from speechtok.shards.layout import Layout
from speechtok.shards.schema import read_annotations, token_schema
from speechtok.shards.writer import ShardWriter
from speechtok.tokens import StreamInfo, TokenizerInfo
from tests.conftest import speech

HERE = RunSettings(workers=1)
SMALL = JobSettings(shard_seconds=1.0, file_mb=1e-6)


@dataclass(frozen=True, kw_only=True)
class Peak(Annotation):
    name, version, needs = "peak", 1, frozenset({"audio"})
    factor: float = 1.0
    wrong: str = ""

    def columns(self, streams):
        return (
            Column(name="peak", type="float32", description="largest sample", unit="FS", source="here"),
            Column(name="words", type="list<string>", description="words of the text"),
        )

    def __call__(self, row):
        if row.id == self.wrong:
            return {"peak": float("nan"), "words": []}
        return {"peak": self.factor * float(np.abs(row.waveform).max()), "words": (row.text or "").split()}


@dataclass(frozen=True, kw_only=True)
class Frames(Annotation):
    name, version, needs, requires = "frames", 1, frozenset({"tokens", "text"}), ("words",)

    def columns(self, streams):
        names = [f"frames_{stream.name}" for stream in streams]
        return tuple(
            Column(name=name, type="int64", description="frames", source="here") for name in (*names, "count")
        )

    def __call__(self, row):
        counts = {f"frames_{name}": count for name, count in row.num_frames.items()}
        return counts | {"count": len(row.columns["words"])}


@dataclass(frozen=True, kw_only=True)
class Phones(Annotation):
    name, version = "letters", 1

    def columns(self, streams):
        return (Column(name="phones", type="list<string>", description="two of them"),)

    def __call__(self, row):
        return {"phones": ["a", "b"]}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    lines = ["id\taudio\ttext\tsplit\tstart\tduration"]
    for number in range(6):
        soundfile.write(folder / f"{number}.wav", (number + 1) / 8 * speech(1.5, seed=number), 16000)
        text = f"number {number}" if number % 3 else ""
        split = "dev" if number == 5 else "train"
        lines.append(f"{number}\t{number}.wav\t{text}\t{split}\t{0.25 if number == 2 else 0}\t1.0")
    (folder / "list.tsv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def made(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "out"
    speechtok.tokenize(corpus / "list.tsv", out, settings=SMALL, run=HERE)
    return out


@pytest.fixture
def dataset(made, tmp_path):
    return shutil.copytree(made, tmp_path / "dataset")


def annotate(dataset, corpus, *annotations, **options):
    return speechtok.annotate(dataset, annotations, corpus=corpus, run=HERE, **options)


def rows(place, **options):
    return {row["id"]: row for row in speechtok.TokenDataset(place, **options)}


def test_columns_are_added_and_codes_stay(dataset, made, corpus):
    done = annotate(dataset, corpus, Peak(), Frames())
    assert done.made == ("peak", "frames")
    assert done.failed == {"peak": 0, "frames": 2}
    before, after = rows(made), rows(dataset)
    assert list(before) == list(after)
    for name, row in before.items():
        assert {key: str(after[name][key]) for key in row} == {key: str(value) for key, value in row.items()}
    whole = {name: soundfile.read(corpus / f"{name}.wav")[0] for name in after}
    for name, row in after.items():
        start = 4000 if name == "2" else 0
        assert row["peak"] == pytest.approx(np.abs(whole[name][start : start + 16000]).max(), abs=1e-6)
        assert row["words"] == (["number", name] if int(name) % 3 else [])
        assert row["frames_mel"] == (row["mel"].shape[1] if int(name) % 3 else None)
    assert not speechtok.verify(dataset).problems


def test_what_failed_is_listed_with_the_reason(dataset, corpus):
    annotate(dataset, corpus, Peak(wrong="1"), Frames())
    assert rows(dataset)["1"]["peak"] is None
    assert rows(dataset)["1"]["words"] is None
    listed = pq.read_table(dataset / "quarantine/annotations/train.parquet").to_pylist()
    assert [(row["id"], row["stage"], row["error"], row["message"]) for row in listed] == [
        ("1", "peak", "AnnotationError", "The value of peak is NaN or infinite."),
        ("0", "frames", "AnnotationError", "The row has no text."),
        ("1", "frames", "TypeError", "object of type 'NoneType' has no len()"),
        ("3", "frames", "AnnotationError", "The row has no text."),
    ]
    assert listed[0]["audio"] == "1.wav"
    assert pq.read_table(dataset / "quarantine/annotations/dev.parquet").num_rows == 0
    assert not speechtok.verify(dataset).problems


def test_files_and_card_say_what_made_the_columns(dataset, corpus):
    import datasets

    annotate(dataset, corpus, Peak(factor=0.5, wrong="1"))
    file = next((dataset / "data").glob("train-*"))
    (found,) = read_annotations(pq.read_schema(file), "it")
    assert (found.name, found.version, found.settings) == ("peak", 1, {"factor": 0.5, "wrong": "1"})
    card = (dataset / "README.md").read_text()
    assert "| `peak` | `float` | largest sample, in FS (here) |" in card
    assert "| `words` | `list<string>` | words of the text |" in card
    assert "| `peak` | 1 | `peak`, `words` | `factor = 0.5`, `wrong = 1` | none | 1 |" in card
    loaded = datasets.load_dataset(str(dataset), split="train")
    assert loaded.features["peak"] == datasets.Value("float32")
    assert loaded[0]["words"] == []
    failed = datasets.load_dataset(str(dataset), "quarantine_annotations", split="train")
    assert failed["id"] == ["1"]


def test_again_is_nothing_or_refused_or_replaced(dataset, corpus, hashes_of):
    annotate(dataset, corpus, Peak(wrong="1"))
    first = hashes_of(dataset)
    assert annotate(dataset, corpus, Peak(wrong="1")).made == ()
    assert hashes_of(dataset) == first
    with pytest.raises(
        DatasetError,
        match=r"was annotated with 'peak' already, with settings \{.*\"wrong\": \"1\"\} instead of \{.*\"wrong\": \"\"\}; have it replaced with --replace",
    ):
        annotate(dataset, corpus, Peak())
    assert hashes_of(dataset) == first
    done = annotate(dataset, corpus, Peak(), Frames(), replace=True)
    assert done.made == ("peak", "frames")
    assert rows(dataset)["1"]["peak"] is not None
    listed = pq.read_table(dataset / "quarantine/annotations/train.parquet").to_pylist()
    assert {row["stage"] for row in listed} == {"frames"}
    assert not speechtok.verify(dataset).problems


def test_one_after_the_other_is_as_both_at_once(dataset, made, corpus, tmp_path, hashes_of):
    annotate(dataset, corpus, Peak(wrong="1"))
    annotate(dataset, corpus, Frames())
    other = shutil.copytree(made, tmp_path / "other")
    annotate(other, corpus, Peak(wrong="1"), Frames())
    assert hashes_of(dataset) == hashes_of(other)


def test_another_folder_gets_what_the_dataset_itself_gets(dataset, made, corpus, tmp_path, hashes_of):
    before, out = hashes_of(made), tmp_path / "out"
    shutil.rmtree(made / ".speechtok/tmp", ignore_errors=True)
    annotate(made, corpus, Peak(), output=out)
    annotate(dataset, corpus, Peak())
    assert hashes_of(made) == before
    assert hashes_of(out) == hashes_of(dataset)
    assert annotate(made, corpus, Peak(), output=out).made == ()
    assert annotate(made, corpus, Frames(), output=out).made == ("frames",)
    assert not (made / ".speechtok/tmp").exists()
    assert hashes_of(made) == before


def test_processes_make_the_same(dataset, made, corpus, tmp_path, hashes_of, monkeypatch):
    monkeypatch.setattr(annotation_plan, "PIECE_SECONDS", 0.5)
    other = shutil.copytree(made, tmp_path / "other")
    speechtok.annotate(dataset, ["pitch", "speaking_rate"], corpus=corpus, run=RunSettings(workers=2))
    annotate(other, corpus, "pitch", "speaking_rate")
    assert hashes_of(dataset) == hashes_of(other)


class Stop(BaseException):
    """As if the process ended here."""


def stopping(monkeypatch, owner, name, call):
    """Let a function end the process at its n-th call."""
    calls = iter(range(1000))
    real = getattr(owner, name)

    def stopped(*arguments, **options):
        if next(calls) == call:
            raise Stop
        return real(*arguments, **options)

    monkeypatch.setattr(owner, name, stopped)


@pytest.mark.parametrize("call", range(0, 40, 4))
def test_it_goes_on_wherever_it_was_stopped(dataset, made, corpus, tmp_path, hashes_of, monkeypatch, call):
    """Every rename, of files and of what is moved in place, may be the last."""
    whole = shutil.copytree(made, tmp_path / "whole")
    annotate(whole, corpus, Peak(wrong="1"))
    before = rows(made)
    with monkeypatch.context() as patch:
        from pathlib import Path

        stopping(patch, Path, "replace", call)
        try:
            annotate(dataset, corpus, Peak(wrong="1"))
        except Stop:
            now = rows(dataset)
            assert list(now) == list(before)
            assert all(np.array_equal(now[name]["mel"], row["mel"]) for name, row in before.items())
    annotate(dataset, corpus, Peak(wrong="1"))
    assert hashes_of(dataset) == hashes_of(whole)
    assert not speechtok.verify(dataset).problems


def test_between_commit_and_move_the_new_dataset_is_read(dataset, corpus, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(annotation_files, "settle", lambda layout: None)
        annotate(dataset, corpus, Peak())
    assert Layout(dataset).annotated.is_dir()
    assert rows(dataset)["0"]["peak"] > 0
    assert speechtok.verify(dataset).problems == (
        "New columns are not yet in their places: annotating was interrupted, run it again.",
    )
    assert annotate(dataset, corpus, Peak()).made == ()
    assert not speechtok.verify(dataset).problems


def test_derived_datasets_keep_what_is_known(dataset, corpus, tmp_path):
    annotate(dataset, corpus, Peak())
    speechtok.filter(dataset, tmp_path / "loud", keep=["peak > 0.2"])
    (found,) = read_annotations(pq.read_schema(next((tmp_path / "loud/data").iterdir())), "it")
    assert found.name == "peak"
    assert "largest sample, in FS" in (tmp_path / "loud/README.md").read_text()
    speechtok.select(dataset, tmp_path / "few", columns=["text", "words"])
    (found,) = read_annotations(pq.read_schema(next((tmp_path / "few/data").iterdir())), "it")
    assert [column.name for column in found.columns] == ["words"]
    assert annotate(tmp_path / "loud", corpus, Peak()).made == ()
    annotate(tmp_path / "loud", corpus, Peak(factor=2.0), replace=True)
    assert not speechtok.verify(tmp_path / "loud").problems


def test_merging_what_was_annotated_differently(dataset, made, corpus, tmp_path):
    other = tmp_path / "other"
    speechtok.select(made, tmp_path / "dev", split="dev")
    speechtok.select(made, tmp_path / "train", split="train")
    annotate(tmp_path / "dev", corpus, Peak())
    annotate(tmp_path / "train", corpus, Peak(factor=2.0))
    with pytest.raises(
        DatasetError, match="columns of the annotation 'peak' that were made with other settings"
    ):
        speechtok.merge([tmp_path / "dev", tmp_path / "train"], other)


@dataclass(frozen=True, kw_only=True)
class Odd(Annotation):
    name, version = "odd", 1
    column: str = "speed"
    gives: str = "speed"

    def columns(self, streams):
        return (Column(name=self.column, type="int32", description="speed"),)

    def __call__(self, row):
        return {self.gives: "fast"}


def test_what_cannot_be_annotated(dataset, made, corpus, tmp_path):
    with pytest.raises(
        DatasetError, match=r"'frames' needs the column 'words', which .* has not; make it first"
    ):
        annotate(dataset, corpus, Frames())
    with pytest.raises(DatasetError, match=r"'odd' adds the column 'mel', but .* has one of its own"):
        annotate(dataset, corpus, Odd(column="mel"))
    with pytest.raises(AnnotationError, match="'odd' gives the columns fast, but states speed"):
        annotate(dataset, corpus, Odd(gives="fast"))
    with pytest.raises(DatasetError, match="give it with --corpus"):
        speechtok.annotate(dataset, [Peak()], run=HERE)
    with pytest.raises(ValueError, match="names 'pitch' twice"):
        annotate(dataset, corpus, "pitch", "pitch")
    with pytest.raises(ValueError, match="settings for 'quality', which is not among"):
        annotate(dataset, corpus, "pitch", settings={"quality": {}})
    with pytest.raises(ValueError, match="must name at least one"):
        annotate(dataset, corpus)
    with pytest.raises(DatasetError, match="is no token dataset made by"):
        annotate(tmp_path / "dataset" / "data", corpus, "pitch", output=tmp_path / "x")
    with pytest.raises(JobError, match="is not empty and holds no token dataset"):
        annotate(made, corpus, "pitch", output=corpus)
    assert rows(dataset) is not None
    assert "peak" not in speechtok.TokenDataset(dataset).columns


def test_a_value_of_another_type_is_a_reason(dataset, corpus):
    assert annotate(dataset, corpus, Odd()).failed == {"odd": 6}
    listed = pq.read_table(dataset / "quarantine/annotations/dev.parquet").to_pylist()
    assert listed[0]["message"].startswith("The value of speed is no int32: ")


def test_recordings_that_are_gone_are_a_reason(dataset, corpus, tmp_path):
    (tmp_path / "empty").mkdir()
    assert annotate(dataset, tmp_path / "empty", Peak()).failed == {"peak": 6}
    listed = pq.read_table(dataset / "quarantine/annotations/dev.parquet").to_pylist()
    assert "The original recording is not where it was" in listed[0]["message"]


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"annotations": [{}], "quarantine": {}}', '{"annotations": [], "quarantine": {"../x": 1}}'],
)
def test_a_damaged_record_is_named(dataset, corpus, content):
    annotate(dataset, corpus, Peak())
    Layout(dataset).annotations.write_text(content)
    with pytest.raises(DatasetError, match=r"annotations.json"):
        speechtok.verify(dataset)


def test_tampering_is_noticed(dataset, corpus):
    annotate(dataset, corpus, Peak())
    record = json.loads(Layout(dataset).annotations.read_text())
    record["annotations"][0]["provenance"]["settings"]["factor"] = 3
    Layout(dataset).annotations.write_text(json.dumps(record))
    assert any("its metadata differ from the plan's" in item for item in speechtok.verify(dataset).problems)
    (dataset / "quarantine/annotations/dev.parquet").unlink()
    assert any(
        "quarantine/annotations/dev.parquet is missing" in item for item in speechtok.verify(dataset).problems
    )


def test_rows_that_were_made_since_have_no_values_until_it_is_replaced(corpus, tmp_path):
    copy, out = shutil.copytree(corpus, tmp_path / "corpus"), tmp_path / "out"
    good = (copy / "1.wav").read_bytes()
    (copy / "1.wav").write_bytes(b"rubbish")
    speechtok.tokenize(copy / "list.tsv", out, settings=SMALL, run=HERE)
    annotate(out, copy, Peak())
    before = rows(out)
    (copy / "1.wav").write_bytes(good)
    retry_quarantined(out, corpus_root=copy, run=HERE)
    after = rows(out)
    assert after["1"]["peak"] is None
    assert {name: row["peak"] for name, row in before.items()} == {
        name: row["peak"] for name, row in after.items() if name != "1"
    }
    assert not speechtok.verify(out).problems
    with pytest.raises(
        DatasetError, match="already, before some of its rows were made anew; have it replaced"
    ):
        annotate(out, copy, Peak())
    assert annotate(out, copy, Peak(), replace=True).failed == {"peak": 0}
    assert rows(out)["1"]["peak"] > 0


def test_a_store_gets_another_dataset(dataset, made, corpus, hashes_of, s3):
    place = s3 / "out"
    annotate(made, corpus, Peak(wrong="1"), output=place)
    annotate(dataset, corpus, Peak(wrong="1"))
    found = {str(path.relative_to(place)): path.read_bytes() for path in place.files() if path.name != "lock"}
    assert found == hashes_of(dataset)
    assert annotate(made, corpus, Peak(wrong="1"), output=place).made == ()
    with pytest.raises(
        JobError, match="lies in an object store, where nothing can be renamed; give an output beside it"
    ):
        annotate(place, corpus, Frames())


def test_quarantine_lists_the_reasons(dataset, corpus, capsys):
    annotate(dataset, corpus, Peak(wrong="1"), Frames())
    assert main.run(["quarantine", str(dataset), "--annotations"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{dataset}: 4 rows without a value of some annotation.",
        "        2  AnnotationError (frames), such as 0: The row has no text.",
        "        1  AnnotationError (peak), such as 1: The value of peak is NaN or infinite.",
        "        1  TypeError (frames), such as 1: object of type 'NoneType' has no len()",
    ]
    assert main.run(["quarantine", str(dataset), "--annotations", "--list"]) == 0
    assert "1\t1.wav\tpeak\tAnnotationError\tThe value of peak" in capsys.readouterr().out
    assert main.run(["quarantine", str(dataset)]) == 0
    assert "0 inputs in quarantine" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the Hub's client, of itself
def test_pushed_and_pulled(hub, dataset, corpus, tmp_path):
    annotate(dataset, corpus, Peak(wrong="1"))
    speechtok.push(dataset, "anna/annotated")
    assert not speechtok.pull("anna/annotated", tmp_path / "back").problems
    card = (tmp_path / "back/README.md").read_text()
    assert "config_name: quarantine_annotations" in card
    assert "- name: peak\n    dtype: float32" in card
    assert rows(tmp_path / "back")["0"]["peak"] == rows(dataset)["0"]["peak"]
    assert annotate(tmp_path / "back", corpus, Peak(wrong="1")).made == ()


def run(*arguments):
    return main.run(["annotate", *map(str, arguments)])


def test_command_line(dataset, corpus, capsys):
    assert run(dataset, "speaking_rate", "pitch", "--corpus", corpus, "--workers", 1) == 0
    printed = capsys.readouterr().out
    assert f"{dataset}: 6 rows, annotated with speaking_rate, pitch." in printed
    assert "speaking_rate has no value for 2 rows; " in printed
    assert run("--list") == 0
    assert "dnsmos_signal: quality of the speech itself, in MOS, 1 to 5" in capsys.readouterr().out
    for arguments, sentence in [
        ([dataset], "Give a dataset and at least one annotation"),
        ([dataset, "pich"], "There is no annotation 'pich'; did you mean 'pitch'"),
        ([dataset, "pitch", "--set", "pitch=3"], "--set takes NAME.KEY=VALUE"),
        ([dataset, "pitch", "--set", "pitch.x=3"], "The annotation 'pitch' has the unknown field x"),
        ([dataset, "pitch", "--executor", "local", "--ray", "x:1"], "--ray goes with --executor ray"),
    ]:
        assert run(*arguments) == 2
        assert sentence in capsys.readouterr().err
    assert run(dataset, "quality") == 1
    assert "give it with --corpus FOLDER" in capsys.readouterr().err


def test_what_was_made_of_other_columns_is_made_anew_with_them(dataset, corpus):
    annotate(dataset, corpus, Peak(), Frames())
    with pytest.raises(
        DatasetError,
        match=r"'frames' of .* was made of the column 'words', which would get other values; name it after",
    ):
        annotate(dataset, corpus, Peak(factor=2.0), replace=True)
    assert annotate(dataset, corpus, Peak(factor=2.0), Frames(), replace=True).made == ("peak", "frames")
    assert annotate(dataset, corpus, Peak(factor=2.0), Frames()).made == ()
    assert not speechtok.verify(dataset).problems


def test_columns_that_came_since_are_taken_when_it_is_replaced(dataset, corpus):
    annotate(dataset, corpus, "speaking_rate")
    annotate(dataset, corpus, Phones())
    with pytest.raises(
        DatasetError, match="annotated with 'speaking_rate' already, with other values of phones; have it"
    ):
        annotate(dataset, corpus, "speaking_rate")
    annotate(dataset, corpus, "speaking_rate", replace=True)
    assert rows(dataset)["1"]["phones_per_second"] == 2.0


@dataclass(frozen=True, kw_only=True)
class Elsewhere(Annotation):
    """As on a cluster whose nodes have other models, or none."""

    name, version = "elsewhere", 1
    known: list = field(default_factory=lambda: ["a", "b"], metadata=LOCAL)

    def columns(self, streams):
        return (Column(name="place", type="string", description="place"),)

    def files(self):
        return {"model": self.known.pop(0)}

    def __call__(self, row):
        return {"place": "here"}


def test_machines_must_have_the_same_models(dataset, corpus):
    with pytest.raises(
        AnnotationError, match=r"'elsewhere' has other model files on .* than where the work was planned"
    ):
        annotate(dataset, corpus, Elsewhere())
    assert annotate(dataset, corpus, Elsewhere(known=["a", "a"])).made == ("elsewhere",)


def test_the_job_that_made_the_dataset_finds_nothing_to_do(dataset, corpus, hashes_of):
    annotate(dataset, corpus, Peak())
    before = hashes_of(dataset)
    assert speechtok.tokenize(corpus / "list.tsv", dataset, settings=SMALL, run=HERE).shards_made == 0
    assert hashes_of(dataset) == before


def test_a_file_that_is_lost_is_made_again_with_its_job_and_annotated_anew(dataset, made, corpus):
    annotate(dataset, corpus, Peak())
    next((dataset / "data").glob("dev-*")).unlink()
    speechtok.tokenize(corpus / "list.tsv", dataset, settings=SMALL, run=HERE)
    assert rows(dataset)["5"]["peak"] is None
    assert not speechtok.verify(dataset).problems
    with pytest.raises(DatasetError, match="before some of its rows were made anew"):
        annotate(dataset, corpus, Peak())
    annotate(dataset, corpus, Peak(), replace=True)
    assert rows(dataset)["5"]["peak"] > 0


def test_recordings_that_changed_are_a_reason(made, dataset, corpus, tmp_path):
    copy = shutil.copytree(corpus, tmp_path / "corpus")
    (copy / "0.wav").write_bytes((copy / "0.wav").read_bytes()[:8000])
    (copy / "1.wav").write_bytes(b"rubbish")
    soundfile.write(copy / "5.wav", speech(0.5), 16000)
    assert annotate(dataset, copy, Peak()).failed == {"peak": 3}
    listed = pq.read_table(dataset / "quarantine/annotations/train.parquet").to_pylist()
    assert [row["id"] for row in listed] == ["0", "1"]
    assert all(
        (row["error"] == "AudioError" and "0.wav" in row["message"]) or "1.wav" in row["message"]
        for row in listed
    )
    assert [
        row["id"] for row in pq.read_table(dataset / "quarantine/annotations/dev.parquet").to_pylist()
    ] == ["5"]
    assert rows(dataset)["4"]["peak"] > 0


def test_whole_recordings_that_are_longer_than_their_rows_are_a_reason(corpus, tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name in "ab":
        soundfile.write(folder / f"{name}.wav", speech(1.0), 16000)
    speechtok.tokenize(folder, tmp_path / "out", run=HERE)
    soundfile.write(folder / "a.wav", speech(3.0), 16000)
    assert annotate(tmp_path / "out", folder, Peak()).failed == {"peak": 1}
    (row,) = pq.read_table(tmp_path / "out/quarantine/annotations/train.parquet").to_pylist()
    assert row["message"].startswith(
        "The recording holds 3.000 s, but its row 1.000 s; it changed since it was tokenized"
    )


def test_recordings_that_take_too_long_are_a_reason(dataset, corpus, monkeypatch):
    run = RunSettings(workers=1, timeout_seconds=1e-6)
    assert speechtok.annotate(dataset, [Peak()], corpus=corpus, run=run).failed == {"peak": 6}
    (row,) = pq.read_table(dataset / "quarantine/annotations/dev.parquet").to_pylist()
    assert (row["error"], row["message"].split("; ")[-1]) == (
        "TimeoutError",
        "allow more with --timeout-seconds, or leave it out.",
    )


def test_long_recordings_arrive_whole(dataset, made, corpus, tmp_path, monkeypatch, hashes_of):
    other = shutil.copytree(made, tmp_path / "other")
    annotate(other, corpus, Peak())
    monkeypatch.setattr(annotation_audio, "WHOLE_SECONDS", 0.3)
    annotate(dataset, corpus, Peak())
    assert hashes_of(dataset) == hashes_of(other)


def test_speakers_are_compared_over_the_whole_dataset(tmp_path):
    stream = StreamInfo(name="content", num_codebooks=1, codebook_size=10, frame_rate=50.0, hop_length=320)
    info = TokenizerInfo(
        name="toy", fingerprint="f00d", sample_rate=16000, streams=(stream,), speaker_embedding_dim=2
    )
    voices = [("anna", [1, 0]), ("anna", [0, 1]), ("anna", [1, 1]), ("bo", [1, 0]), (None, [1, 0])]
    file = tmp_path / "rows.parquet"
    with ShardWriter(file, token_schema(info, {"name": "toy"}, {}), info) as writer:
        for number, (speaker_label, vector) in enumerate(voices):
            about = {"id": str(number), "audio": "x.wav", "num_samples": 3200, "duration": 0.2}
            labels = {"text": None, "speaker": speaker_label, "language": None, "source_sample_rate": 16000}
            codes = {"content": np.zeros((1, 10), np.uint16)}
            writer.add({**about, **labels, **codes, "speaker_embedding": np.float32(vector)})
    speechtok.select(file, tmp_path / "out")
    assert annotate(tmp_path / "out", None, "speaker_similarity").failed == {"speaker_similarity": 2}
    found = [row["speaker_similarity"] for row in rows(tmp_path / "out").values()]
    assert found[:2] == pytest.approx([np.cos(3 * np.pi / 8)] * 2)
    assert found[2:] == [pytest.approx(1.0), None, None]
    with pytest.raises(DatasetError, match="is no finished token dataset of this version"):
        annotate(file.parent / "nothing", None, "speaker_similarity")
