"""Alignments of the clips that come with the package: made, exported, read back."""

import numpy as np
import pytest

import speechtok
from speechtok.annotations import load_annotation
from speechtok.commands.export_alignments import export_alignments
from speechtok.demo.demonstration import CORPUS
from speechtok.engine.settings import RunSettings
from speechtok.errors import DatasetError
from speechtok.lm import Vocabulary, phone_set

HERE = RunSettings(workers=1)
COLUMNS = ("phone", "phone_start", "phone_end", "word", "word_start", "word_end", "phone_frames_mel")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "out"
    speechtok.tokenize(CORPUS, out, tokenizer="dmel_16k", run=HERE)
    speechtok.annotate(
        out,
        ["text_normalized", "phones", "alignment"],
        settings={"alignment": {"min_score": -60.0}},  # the voices are made by a machine
        corpus=CORPUS.parent,
        run=HERE,
    )
    return out


def rows(place):
    return {row["id"]: row for row in speechtok.TokenDataset(place)}


def test_english_rows_are_aligned_and_others_have_a_reason(made):
    found = rows(made)
    english = {name for name, row in found.items() if row["language"].startswith("en")}
    assert {name for name, row in found.items() if row["phone"] is not None} == english
    for name in english:
        row = found[name]
        assert sum(row["phone_frames_mel"]) == row["mel"].shape[1]
        assert list(row["word"]) == row["text_normalized"].split()
        assert row["phone_end"][-1] == row["duration"]
    failed = speechtok.TokenDataset(made)
    assert [item.name for item in failed.annotations] == ["text_normalized", "phones", "alignment"]


def test_sets_of_phones_become_vocabularies(made):
    dataset = speechtok.TokenDataset(made)
    vocabulary = Vocabulary.of(dataset.info, text=phone_set(dataset, "phone"))
    assert vocabulary.text[0] == "SIL"
    assert len(vocabulary.text) == len(phone_set(dataset)) + 1 == 40
    for row in dataset:
        if row["phone"] is not None:
            vocabulary.text_ids(row["phone"])


def test_textgrids_that_are_written_are_read_back(made, tmp_path):
    found = rows(made)
    assert export_alignments(made, tmp_path / "grids") == sum(
        row["phone"] is not None for row in found.values()
    )
    given = load_annotation("alignment", aligner="files", folder=str(tmp_path / "grids"))
    speechtok.annotate(made, [given], tmp_path / "again", run=HERE, replace=True)
    for name, row in rows(tmp_path / "again").items():
        for column in COLUMNS:
            before = found[name][column]
            assert (before is None) == (row[column] is None)
            assert before is None or np.array_equal(before, row[column])


def test_what_cannot_be_exported_is_refused(made, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    with pytest.raises(DatasetError, match=r"full holds something already; write to a new folder\."):
        export_alignments(made, tmp_path / "full")
    speechtok.tokenize(CORPUS, tmp_path / "bare", tokenizer="dmel_16k", run=HERE)
    with pytest.raises(
        DatasetError, match=r"bare has no alignments; make them with `speechtok annotate .*bare alignment`"
    ):
        export_alignments(tmp_path / "bare", tmp_path / "grids")
