"""From a dataset or a table of pairs to an evaluation, its table and its page."""

import csv
import json
import math
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from speechtok.audio.io import read_waveform, write_wav
from speechtok.cli import main
from speechtok.commands import evaluate
from speechtok.commands.evaluate import EvaluationSettings, evaluate_dataset, evaluate_pairs
from speechtok.commands.tokenize import tokenize_corpus
from speechtok.corpora.originals import Originals
from speechtok.engine.settings import RunSettings
from speechtok.errors import AudioError, DatasetError, JobError
from speechtok.loading import load_tokenizer
from speechtok.metrics.evaluation import Evaluation, EvaluationRow, summarize_rows
from speechtok.metrics.measures import Scores, measure
from speechtok.report.evaluation import MAX_FAILURES, write_evaluation
from speechtok.shards.reader import TokenDataset

FAST = EvaluationSettings(measures=("stoi", "si_sdr", "mel_distance", "vde", "gpe"))


@pytest.fixture
def dataset(tmp_path, speech):
    """Four rows: two of speech, one of silence, one whose recording has gone since."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number, seconds in enumerate((1.2, 2.0)):
        write_wav(folder / f"{number}.wav", speech(seconds, seed=number), 16000)
    write_wav(folder / "silence.wav", np.zeros(16000), 16000)
    write_wav(folder / "gone.wav", speech(1.0, seed=3), 16000)
    tokenize_corpus(folder, tmp_path / "out", run=RunSettings(workers=1))
    (folder / "gone.wav").unlink()
    return tmp_path / "out"


def corpus_of(dataset):
    return dataset.parent / "corpus"


def test_rows_of_a_dataset(dataset):
    seen = []
    found = evaluate_dataset(dataset, corpus_root=corpus_of(dataset), settings=FAST, on_row=seen.append)
    assert [row.id for row in found.rows] == ["0.wav", "1.wav", "gone.wav", "silence.wav"]
    assert tuple(seen) == found.rows
    assert found.failures == 2
    gone, silence = found.rows[2:]
    assert set(gone.scores.failures) == set(FAST.measures)
    assert "is not where it was" in gone.scores.failures["stoi"]
    assert set(silence.scores.failures) == {"stoi", "si_sdr", "gpe"}
    assert set(silence.scores.values) == {"mel_distance", "vde"}
    assert found.summaries["stoi"].count == 2
    assert found.summaries["stoi"].failed == 2
    assert found.summaries["vde"].count == 3

    rows, tokenizer = TokenDataset(dataset), load_tokenizer("dmel_16k")
    reference = read_waveform(dataset.parent / "corpus/1.wav").samples.astype(np.float64)
    decoded = tokenizer.decode(rows.tokens(1))[0].double().numpy()
    assert found.rows[1].scores == measure(reference, decoded, 16000, FAST.names())
    assert found.statistics.rows == 4
    assert found.decode_seconds > 0


def test_processes_change_nothing(dataset):
    alone = evaluate_dataset(dataset, corpus_root=corpus_of(dataset), settings=FAST)
    shared = evaluate_dataset(dataset, corpus_root=corpus_of(dataset), settings=replace(FAST, workers=2))
    assert shared.rows == alone.rows


def test_a_selection_is_spread_over_the_dataset(dataset):
    assert [
        row.id
        for row in evaluate_dataset(dataset, corpus_root=corpus_of(dataset), limit=2, settings=FAST).rows
    ] == [
        "1.wav",
        "silence.wav",
    ]


def test_a_corpus_that_moved(dataset, tmp_path):
    shutil.move(tmp_path / "corpus", tmp_path / "moved")
    (tmp_path / "corpus").mkdir()
    with pytest.raises(JobError, match=r"Nothing in out could be measured\. The original recording is not"):
        evaluate_dataset(dataset, corpus_root=corpus_of(dataset), settings=FAST)
    found = evaluate_dataset(dataset, corpus_root=tmp_path / "moved", settings=FAST)
    assert found.summaries["vde"].count == 3


@pytest.fixture
def table(tmp_path, speech):
    for number, rate in enumerate((16000, 24000)):
        write_wav(tmp_path / f"{number}.wav", speech(1.5, rate, seed=number), rate)
        noise = np.random.default_rng(number).standard_normal(24000) * 0.01
        write_wav(tmp_path / f"{number}-copy.wav", speech(1.5, seed=number) + noise, 16000)
    (tmp_path / "broken.wav").write_text("no audio")
    (tmp_path / "pairs.tsv").write_text(
        "reference\tdecoded\tid\ttext\n0.wav\t0-copy.wav\tnull\tgood day\n1.wav\t1-copy.wav\t\t\n0.wav\tbroken.wav\t\t\n"
    )
    return tmp_path / "pairs.tsv"


def test_pairs_of_files(table):
    found = evaluate_pairs(table, settings=FAST)
    assert [row.id for row in found.rows] == ["null", "1-copy.wav", "broken.wav"]
    assert "not audio" in found.rows[2].scores.failures["stoi"]
    assert found.rows[1].scores.values["mel_distance"] > 0
    assert found.statistics is None
    assert len(evaluate_pairs(table, limit=1, settings=FAST).rows) == 1


def test_models_judge_too(table, recogniser, speaker_model):
    settings = EvaluationSettings(
        measures=("cer", "wer", "speaker_similarity"), asr=recogniser, speaker_model=speaker_model
    )
    found = evaluate_pairs(table, settings=settings)
    first, second, broken = (row.scores for row in found.rows)
    assert set(first.values) == {"wer", "cer", "speaker_similarity"}
    assert second.failures == dict.fromkeys(
        ["wer", "cer"], "The error rate needs a transcript, and the row has none."
    )
    assert set(broken.failures) == {"wer", "cer", "speaker_similarity"}
    assert EvaluationSettings(asr=recogniser).names()[-2:] == ("wer", "cer")
    assert "speaker_similarity" not in EvaluationSettings(asr=recogniser).names()


def test_error_rates_are_pooled_over_transcripts():
    rows = [
        EvaluationRow(id=text, seconds=1.0, text=text, scores=Scores(values={"wer": rate, "cer": rate}))
        for text, rate in (("one two three", 0.0), ("four!", 1.0))
    ]
    found = summarize_rows(["wer", "cer"], rows)
    assert found["wer"].mean == pytest.approx(1 / 4)
    assert found["cer"].mean == pytest.approx(4 / 17)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("reference\tcopy\na\tb\n", "has no column decoded; a table of pairs is tab-separated"),
        ("reference\tdecoded\na.wav\n", r"Line 2 of .* lacks the path of a file"),
    ],
)
def test_tables_that_are_no_tables(tmp_path, text, message):
    (tmp_path / "pairs.tsv").write_text(text)
    with pytest.raises(DatasetError, match=message):
        evaluate_pairs(tmp_path / "pairs.tsv", settings=FAST)


def test_a_model_that_was_not_named():
    with pytest.raises(ValueError, match="'wer' needs a model of transformers; name one with --asr"):
        EvaluationSettings(measures=("wer",)).names()
    with pytest.raises(ValueError, match="name one with --speaker-model"):
        EvaluationSettings(measures=("speaker_similarity",)).names()


def run(capsys, *arguments):
    code = main.run(["evaluate", *map(str, arguments)])
    return code, *capsys.readouterr()


def test_the_command(dataset, tmp_path, capsys):
    code, out, err = run(
        capsys,
        dataset,
        "--corpus",
        corpus_of(dataset),
        "--measure",
        "stoi",
        "--measure",
        "vde",
        "--table",
        tmp_path / "t.tsv",
        "--html",
        tmp_path / "p.html",
    )
    assert code == 0, err
    assert re.search(r"^stoi +0\.\d+ \(.* to .*\); worst 0\.\d+, \S+; 2 pairs failed$", out, re.MULTILINE)
    assert re.search(r"^mel +16 kbit/s; .* perplexity \d+\.\d of 16$", out, re.MULTILINE)
    with (tmp_path / "t.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["id"] for row in rows] == ["0.wav", "1.wav", "gone.wav", "silence.wav"]
    assert float(rows[0]["stoi"]) > 0
    assert rows[2]["stoi"] == "" != rows[2]["failures"]
    page = (tmp_path / "p.html").read_text()
    assert "STOI" in page
    assert "gone.wav" in page


@pytest.mark.parametrize(("words", "workers"), [((), 2), (("--workers", "1"), 1)])
def test_each_cpu_measures_where_it_pays(dataset, capsys, monkeypatch, words, workers):
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setattr("speechtok.cli.evaluate.PAIRS_PER_WORKER", 2)  # of four
    asked = []

    def counted(count, context, initializer):
        asked.append(count)
        return ThreadPoolExecutor(1)

    monkeypatch.setattr(evaluate, "ProcessPoolExecutor", counted)
    code, _, err = run(capsys, dataset, "--corpus", corpus_of(dataset), "--measure", "vde", *words)
    assert (code, asked) == (0, [workers] if workers > 1 else []), err  # one measures in this process


def test_json_of_the_command(table, capsys):
    code, out, err = run(capsys, "--pairs", table, "--measure", "stoi", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["rows"][2]["values"] == {}
    assert found["summaries"]["stoi"]["failed"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Give either a token dataset or --pairs TABLE"),
        (["--pairs", "TABLE", "--split", "train"], "--split belongs to a token dataset, not to --pairs"),
        (["--pairs", "TABLE", "--measure", "mos"], "There is no measure 'mos'"),
    ],
)
def test_wrong_usage(table, capsys, arguments, message):
    code, _, err = run(capsys, *[table if item == "TABLE" else item for item in arguments])
    assert code == 2
    assert message in err


def test_the_page_lists_reasons_once_per_pair(tmp_path):
    hostile = "<script>alert(1)</script>"
    rows = [
        EvaluationRow(id=f"{hostile}{n}", seconds=1.0, scores=Scores(failures={"vde": "x", "stoi": "x"}))
        for n in range(MAX_FAILURES + 1)
    ]
    rows.append(EvaluationRow(id="good", seconds=1.0, scores=Scores(values={"si_sdr": math.inf})))
    names = ("si_sdr", "vde", "stoi")
    write_evaluation(
        Evaluation(name=hostile, rows=tuple(rows), summaries=summarize_rows(names, rows)), tmp_path / "p.html"
    )
    page = (tmp_path / "p.html").read_text()
    assert hostile not in page
    assert page.count("<td>vde, stoi</td>") == MAX_FAILURES
    assert "∞" in page


def test_infinite_values_are_text_in_json():
    rows = (EvaluationRow(id="a", seconds=1.0, scores=Scores(values={"si_sdr": math.inf})),)
    found = Evaluation(name="x", rows=rows, summaries=summarize_rows(["si_sdr"], rows)).to_dict()
    assert json.loads(json.dumps(found, allow_nan=False))["rows"][0]["values"] == {"si_sdr": "inf"}


def test_recordings_whose_folder_nobody_named(dataset, capsys):
    with pytest.raises(AudioError, match="Recordings are opened only below a folder that you name"):
        Originals(root=None).read("a", "a.wav", 16000, 100)
    code, _, err = run(capsys, dataset)
    assert code == 1
    assert "Recordings are opened only below a folder that you name" in err
    assert "give it with --corpus FOLDER." in err
