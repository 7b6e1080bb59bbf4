import json
import pickle
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint

import numpy as np
import pyarrow as pa
import pytest

from speechtok.annotations import (
    LOCAL,
    Annotation,
    Column,
    Provenance,
    Row,
    list_annotations,
    load_annotation,
    registry,
)
from speechtok.errors import AnnotationError
from speechtok.tokens import StreamInfo

STREAMS = (StreamInfo(name="mel", num_codebooks=80, codebook_size=16, frame_rate=40.0, hop_length=400),)


@pytest.mark.parametrize("name", list_annotations())
def test_every_annotation_describes_itself(name):
    annotation = load_annotation(name)
    assert annotation.name == name
    assert pickle.loads(pickle.dumps(annotation)) == annotation
    made = annotation.provenance(STREAMS)
    assert Provenance.from_dict(json.loads(json.dumps(made.to_dict()))).to_dict() == made.to_dict()
    assert len({column.name for column in made.columns}) == len(made.columns) > 0
    assert all(column.source for column in made.columns)


def test_unknown_names_and_settings_name_the_nearest():
    with pytest.raises(ValueError, match="There is no annotation 'pich'; did you mean 'pitch'"):
        load_annotation("pich")
    with pytest.raises(ValueError, match="The annotation 'pitch' has the unknown field floor_hz"):
        load_annotation("pitch", floor_hz=3)


@dataclass(frozen=True, kw_only=True)
class Loud(Annotation):
    name, version = "loud", 3
    threshold: float = 0.5
    folder: str = field(default="", metadata=LOCAL)

    def columns(self, streams):
        return (Column(name="is_loud", type="bool", description="whether it is loud"),)

    def __call__(self, row):
        return {"is_loud": bool(np.abs(row.waveform).max() > self.threshold)}


def test_other_packages_add_annotations(monkeypatch):
    point = EntryPoint("loud", f"{__name__}:Loud", registry.ANNOTATIONS_GROUP)
    monkeypatch.setattr(registry, "_installed", lambda: (point,))
    monkeypatch.setattr(
        registry, "import_module", lambda name: pytest.importorskip(name) if name != __name__ else _Here
    )
    assert "loud" in list_annotations()
    assert load_annotation("loud", threshold=1, folder="here").settings() == {"threshold": 1.0}
    with pytest.raises(ValueError, match="has 'much' in field threshold, which must be of type float"):
        load_annotation("loud", threshold="much")


class _Here:
    Loud = Loud


def test_a_name_that_is_claimed_twice(monkeypatch):
    point = EntryPoint("pitch", "theirs:Pitch", registry.ANNOTATIONS_GROUP)
    monkeypatch.setattr(registry, "_installed", lambda: (point,))
    with pytest.raises(
        AnnotationError,
        match=r"'pitch' is claimed twice, by speechtok.annotations.pitch:Pitch and theirs:Pitch",
    ):
        load_annotation("pitch")


def test_a_class_that_is_not_there(monkeypatch):
    point = EntryPoint("other", "speechtok.annotations.pitch:Nothing", registry.ANNOTATIONS_GROUP)
    monkeypatch.setattr(registry, "_installed", lambda: (point,))
    with pytest.raises(
        AnnotationError, match=r"'other' cannot be imported from speechtok.annotations.pitch:Nothing"
    ):
        load_annotation("other")


def test_types_of_columns():
    def column(kind):
        return Column(name="x", type=kind, description="x")

    assert column("list<list<int32>>").arrow_type == pa.list_(pa.list_(pa.int32()))
    assert column("string").arrow_type == pa.string()
    for kind in ("text", "list<text>", "list<", 3):
        with pytest.raises(ValueError, match="A column has one of the types"):
            column(kind)
    with pytest.raises(
        ValueError, match="A column is named in small letters, digits and underscores, not 'F0'"
    ):
        Column(name="F0", type="bool", description="x")


@pytest.mark.parametrize(
    "change",
    [
        {"version": "1"},
        {"settings": []},
        {"columns": [{"name": "x", "type": "bool"}]},
        {"files": {"a": 3}},
        {"more": 1},
    ],
)
def test_a_damaged_provenance_is_refused(change):
    values = load_annotation("pitch").provenance(STREAMS).to_dict() | change
    with pytest.raises((TypeError, ValueError, KeyError)):
        Provenance.from_dict(values)


def test_a_row_shares_what_was_resampled():
    row = Row(id="a", duration=1.0, waveform=np.ones(8000, np.float32), sample_rate=8000)
    assert row.at(8000) is row.waveform
    assert len(row.at(16000)) == 16000
    assert row.at(16000) is row.at(16000)
