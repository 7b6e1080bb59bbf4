"""Alignment by CTC models of transformers: small ones of random weights, and known output."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from speechtok.annotations import load_annotation
from speechtok.annotations.ctc import CtcModel, load_model
from speechtok.errors import AnnotationError
from tests.annotations.test_alignment import check_tiling, row_of
from tests.conftest import speech


@pytest.fixture
def folder(recogniser, tmp_path):
    return Path(shutil.copytree(recogniser, tmp_path / "model"))


def ctc(folder, **settings):
    return load_annotation("alignment", aligner="ctc", checkpoint=str(folder), **settings)


class Known(CtcModel):
    """A model that says what it is told, a frame each tenth of a second."""

    def log_probs(self, waveform):
        classes = np.array([0, 2, 0, 3, 3, 1, 0, 0, 0, 2])
        return np.log(np.eye(4)[classes] * 0.9 + 0.025)


def test_known_output_gives_known_times():
    model = Known(None, SimpleNamespace(sampling_rate=16000), {"_": 0, "|": 1, "A": 2, "E": 3}, 0, "|")
    found = model.align_text(np.zeros(16000, np.float32), "ae a")
    assert [item.label for item in found.phones] == ["A", "E", "A"]
    assert [item.start for item in found.phones] == pytest.approx([0.1, 0.2, 0.9])
    assert [item.end for item in found.phones] == pytest.approx([0.2, 0.5, 1.0])
    assert [(item.label, round(item.start, 9), round(item.end, 9)) for item in found.words] == [
        ("AE", 0.1, 0.5),
        ("A", 0.9, 1.0),
    ]
    assert model.symbols == ("A", "E")


def test_characters_are_aligned(folder):
    row = row_of(text="Nothing, lost", waveform=speech(2.0))
    alignment = ctc(folder, symbols="characters")
    values = alignment(row)
    check_tiling(values, row)
    assert [item for item in values["phone"] if item != "SIL"] == list("nothinglost")
    assert values["word"] == ["nothing", "lost"]
    assert alignment(row) == values
    assert {"model.safetensors", "config.json", "vocab.json"} <= set(alignment.files())
    assert alignment.facts()["phone_set"] == ["SIL", *"abcdefghijklmnopqrstuvwxyz"]


@pytest.mark.parametrize("phones", ["a b  c", ["a", "b", "c"]])
def test_phones_are_aligned(folder, phones):
    row = row_of(waveform=speech(1.0), phones=phones)
    alignment = ctc(folder)
    assert alignment.requires == ("phones",)
    values = alignment(row)
    check_tiling(values, row)
    assert [item for item in values["phone"] if item != "SIL"] == ["a", "b", "c"]
    assert values["word"] is None


def test_rows_without_a_path_are_refused(folder):
    alignment = ctc(folder)
    with pytest.raises(AnnotationError, match=r"^The row has no phones\.$"):
        alignment(row_of(waveform=speech(1.0), phones=None))
    with pytest.raises(AnnotationError, match=r"^The model has no symbol 'ə'; it has a b c"):
        alignment(row_of(waveform=speech(1.0), phones=["a", "ə"]))
    with pytest.raises(
        AnnotationError, match=r"^The text does not fit the audio: 200 symbols need more than the \d+ frames"
    ):
        alignment(row_of(waveform=speech(0.2), phones=["a"] * 200))
    with pytest.raises(AnnotationError, match=r"^The model cannot take 10 samples"):
        alignment(row_of(waveform=np.ones(10, np.float32), phones=["a"]))
    with pytest.raises(AnnotationError, match=r"^The text has no words\.$"):
        ctc(folder, symbols="characters")(row_of(text="?!", waveform=speech(0.5)))


def change(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda place: (place / "vocab.json").unlink(), r"There is no file '.*vocab\.json'"),
        (
            lambda place: (place / "vocab.json").write_text("[1]"),
            r"vocab\.json' must map each symbol to its number\.",
        ),
        (
            lambda place: change(place / "vocab.json", ä=99),
            r"has a vocab\.json of another model: it has more symbols than classes",
        ),
        (
            lambda place: change(place / "config.json", pad_token_id=None),
            r"does not say which class is the blank",
        ),
        (
            lambda place: change(place / "config.json", quantization_config={"a": 1}),
            r"cannot be loaded: .* chooses code to run",
        ),
        (lambda place: (place / "model.safetensors").unlink(), r"The CTC model in '.*' cannot be loaded: "),
        (shutil.rmtree, r"There is no folder '.*' with a CTC model; give alignment\.checkpoint\."),
    ],
)
def test_damaged_models_are_refused(folder, damage, says):
    damage(folder)
    load_model.cache_clear()
    with pytest.raises(AnnotationError, match=says):
        ctc(folder).files()
