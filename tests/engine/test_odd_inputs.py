"""One odd name, number or note costs one utterance, never the job: it is in quarantine, or refused by its line."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from speechtok.commands.status import read_status
from speechtok.commands.tokenize import retry_quarantined, tokenize_corpus
from speechtok.engine.observer import Observer
from speechtok.engine.settings import JobSettings, RunSettings, frozen_settings
from speechtok.errors import DatasetError, JobError
from speechtok.shards.layout import Layout
from speechtok.shards.plan import Plan, read_plan
from speechtok.shards.verify import verify

ALONE = RunSettings(workers=1)
"""In this process."""


def run(corpus, output, run=ALONE, **options):
    return tokenize_corpus(corpus, output, settings=JobSettings(shard_seconds=2.0), run=run, **options)


def quarantined(output):
    return pq.read_table(output / "quarantine" / "train.parquet").to_pylist()


def manifest(folder, *rows):
    path = folder / "m.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


ODD = {
    "nul": [{"audio": "a\0b.wav"}],
    "far": [{"audio": "a.wav", "id": "x", "start": 0.1, "duration": 1e308}],
    "late": [{"audio": "a.wav", "id": "x", "start": 1e308}],
    "long": [{"audio": "a.wav", "id": f"{n}", "duration": 1e308} for n in range(3)],
    "offset": [{"audio": f"a.wav#offset={'9' * 5000}"}],
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_row_is_lost_alone(tmp_path, write_corpus, name):
    write_corpus(tmp_path, {"a.wav": 0.4, "b.wav": 0.4, "c.wav": 0.4})
    path = manifest(tmp_path, {"audio": "b.wav"}, *ODD[name], {"audio": "c.wav"})
    report = run(path, tmp_path / "out")
    assert (report.rows, report.quarantined) == (2, len(ODD[name]))
    for row, odd in zip(quarantined(tmp_path / "out"), ODD[name], strict=True):
        assert row["audio"] == odd["audio"]
        assert repr(row["audio"]) in row["message"]
    assert verify(Layout(tmp_path / "out")).problems == ()
    assert run(path, tmp_path / "out").shards_made == 0


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            '{"audio": "a.wav", "duration": 1' + "0" * 400 + "}",
            r"line 2: `duration` must be a number of seconds",
        ),
    ],
)
def test_what_no_plan_can_hold(tmp_path, write_corpus, line, sentence):
    write_corpus(tmp_path, {"a.wav": 0.4, "b.wav": 0.4})
    (tmp_path / "m.jsonl").write_text('{"audio": "b.wav"}\n' + line + "\n")
    with pytest.raises(DatasetError, match=sentence):
        run(tmp_path / "m.jsonl", tmp_path / "out")


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("seconds", [0.4, 2.5])
def test_a_recording_that_changed_since_it_was_planned(tmp_path, write_corpus, long, seconds):
    """Shorter or longer, read whole or in blocks: it is in quarantine, and what is there is intact."""
    corpus = write_corpus(tmp_path / "c", {"a.wav": 1.5, "b.wav": 0.4})
    settings = JobSettings(shard_seconds=10.0, chunk_seconds=1.0 if long else 60.0)

    def change(*_):
        soundfile.write(corpus / "a.wav", np.zeros(round(seconds * 16000)), 16000)

    watcher = Observer(planned=change)
    report = tokenize_corpus(
        corpus, tmp_path / "out", settings=settings, run=RunSettings(workers=1), observer=watcher
    )
    assert (report.rows, report.quarantined) == (1, 1)
    (row,) = quarantined(tmp_path / "out")
    assert (row["id"], row["stage"]) == ("a.wav", "read")
    assert row["message"].startswith(
        f"Cannot read 'a.wav': it holds {seconds:.3f} s, but 1.500 s were planned. It changed since"
    )
    assert verify(Layout(tmp_path / "out")).problems == ()


# --- notes and records ---


@pytest.fixture
def begun(tmp_path, write_corpus):
    corpus = write_corpus(tmp_path / "c", {"a.wav": 0.4, "b.wav": 0.4})
    run(corpus, tmp_path / "out")
    return corpus, tmp_path / "out"


NOTES = (
    "",
    "{}",
    "[]",
    "[" * 10000,
    '{"deaths": "x"}',
    '{"deaths": 1, "batch": 9, "suspect": null, "alone": {}}',
    '{"deaths": 0, "batch": null, "suspect": 3, "alone": 4}',
)


@pytest.mark.parametrize("note", NOTES)
def test_a_damaged_note_is_one_of_an_unknown_death(begun, hashes, unjoined, note):
    corpus, output = begun
    before, layout = hashes(output), unjoined(output)
    layout.part_record(0).unlink()
    path = layout.attempts("train", 0)
    path.parent.mkdir()
    path.write_text(note)
    run(corpus, output)
    assert hashes(output) == before


NONSENSE = (
    {"number": 1},
    {"sha256": None},
    {"splits": None},
    *(
        {"splits": [{"split": "train", "rows": 2, "seconds": 0.8, "quarantined": []} | change]}
        for change in (
            {"rows": "x"},
            {"rows": None},
            {"rows": -1},
            {"quarantined": None},
            {"quarantined": [{"id": 1}]},
            {"split": "../../x"},
            {"seconds": float("nan")},
        )
    ),
    {"more": 1},
    {"bytes": []},
)


@pytest.mark.parametrize("change", NONSENSE)
def test_a_record_that_says_nonsense_proves_nothing(begun, hashes, unjoined, change):
    corpus, output = begun
    before, path = hashes(output), unjoined(output).part_record(0)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert verify(Layout(output)).problems
    assert run(corpus, output).shards_made == 1
    assert hashes(output) == before


def test_a_record_that_cannot_be_read_is_not_a_missing_one(begun, unjoined):
    """A file system that is stale or refuses makes an error, and no smaller dataset."""
    corpus, output = begun
    path = unjoined(output).part_record(0)
    path.unlink()
    path.mkdir()  # which cannot be read as a file, whoever asks
    sentence = r"0000000\.json cannot be read \(.*\), so nothing can be said"
    for use in (lambda: run(corpus, output), lambda: verify(Layout(output))):
        with pytest.raises((DatasetError, JobError), match=sentence):
            use()


def test_a_plan_of_somebody_else(begun):
    layout = Layout(begun[1])
    rows = pq.read_table(layout.plan_rows)
    content = json.loads(layout.plan.read_text())
    for changed in (
        rows.drop_columns(["audio"]),
        rows.set_column(4, "split", [["../../x"] * len(rows)]),
        rows.set_column(rows.schema.get_field_index("shard"), "shard", [[None] * len(rows)]),
    ):
        pq.write_table(changed, layout.plan_rows)
        digest = hashlib.sha256(layout.plan_rows.read_bytes()).hexdigest()
        layout.plan.write_text(json.dumps(content | {"utterances_sha256": digest}))
        with pytest.raises(DatasetError, match="no plan that speechtok makes"):
            read_plan(layout)


OWN = (
    ".speechtok",
    "data",
    "quarantine",
    "README.md",
    "manifest.parquet",
    *tuple(
        f".speechtok/{name}"
        for name in (
            "events.jsonl",
            "job.json",
            "lock",
            "plan.json",
            "plan.parquet",
            "tmp",
            "parts",
            "files",
            "parts.parquet",
            "attempts",
        )
    ),
)


def test_a_job_follows_no_link_in_its_output(begun, tmp_path):
    """Whatever a dataset from elsewhere holds, nothing is written, removed or copied where it leads to."""
    corpus, output = begun
    next(Layout(output).data.iterdir()).unlink()  # so that there is something to do
    for name in OWN:
        path, elsewhere = output / name, tmp_path / "elsewhere"
        was_there = path.exists()
        if was_there:
            path.rename(elsewhere)
        else:
            elsewhere.mkdir()
            (elsewhere / "mine").write_text("kept")
        path.symlink_to(elsewhere)
        before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
        for job in (
            lambda: run(corpus, output),
            lambda: retry_quarantined(output, run=RunSettings(workers=1)),
        ):
            with pytest.raises(JobError, match=rf"{name} is a link, which a job does not follow"):
                job()
        assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before
        path.unlink()
        elsewhere.rename(path if was_there else tmp_path / f"was {name.replace('/', ' ')}")


def test_links_in_place_of_files_parts_records_and_notes_are_replaced(begun, tmp_path, hashes, unjoined):
    corpus, output = begun
    before, layout = hashes(output), unjoined(output)
    (tmp_path / "mine").write_text("kept")
    layout.attempts("train", 0).parent.mkdir()
    for path in (
        layout.file("train", 0, 1),
        layout.part(0),
        layout.part_record(0),
        layout.attempts("train", 0),
    ):
        path.unlink(missing_ok=True)
        path.symlink_to(tmp_path / "mine")
    run(corpus, output)
    assert (tmp_path / "mine").read_text() == "kept"
    assert hashes(output) == before


@pytest.mark.parametrize(
    "change", [{"state": "running", "updated": "x"}, {"state": "running", "pid": 10**30}, {"about": 3}]
)
def test_a_state_that_says_nonsense(begun, change):
    """It is no part of the dataset: one sentence, and the next run goes on."""
    corpus, output = begun
    path = Layout(output).job
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    if change.get("state") == "running":
        with pytest.raises(DatasetError, match=r"job\.json is damaged; the next run writes it anew"):
            read_status(output)
    assert run(corpus, output).shards_made == 0
    if "about" in change:
        with pytest.raises(DatasetError, match="Nothing says where the corpus"):
            retry_quarantined(output, run=RunSettings(workers=1))


@pytest.mark.parametrize(
    "job",
    [{"batch_seconds": value} for value in (None, [1], "x", -1, 10**400, {"a": 1})]
    + [{"dtype": [1]}, {"split": 3}],
)
def test_settings_in_a_plan_that_no_job_has(job):
    with pytest.raises(
        DatasetError, match=r"plan beside p\.parquet is none that speechtok makes: it states settings"
    ):
        frozen_settings(Plan(settings={"job": job}, file=Path("p.parquet")))
