"""The record of annotations: what was written is read, and nothing else than a sentence comes of what is damaged."""

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechtok.errors import DatasetError
from speechtok.shards.annotated import (
    Annotated,
    Column,
    Entry,
    Provenance,
    annotated_bytes,
    read_annotated,
    settle,
)
from speechtok.shards.layout import Layout

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
MADE = Provenance(
    name="peak",
    version=1,
    settings={"factor": 1.0},
    files={"model": "ab"},
    columns=(Column(name="peak", type="list<float32>", description="peak", unit="FS", source="here"),),
    inputs={"words": "cd"},
)
RECORD = Annotated(
    entries=(Entry(provenance=MADE, rows_sha256="ef", failed=2),),
    quarantine={"train": {"rows": 2, "bytes": 10, "sha256": "01"}},
)


def written(folder, content):
    layout = Layout(folder)
    layout.annotations.parent.mkdir(parents=True, exist_ok=True)
    layout.annotations.write_bytes(content)
    return layout


def test_what_was_written_is_read(tmp_path):
    assert read_annotated(Layout(tmp_path)) == Annotated()
    assert read_annotated(written(tmp_path, annotated_bytes(RECORD))) == RECORD


def test_the_identity_is_that_of_all_but_facts():
    assert Provenance.from_dict({**MADE.to_dict(), "facts": {"symbols": ["a"]}}).identity == MADE.identity
    for name, value in {"version": 2, "settings": {}, "inputs": {}, "files": {}}.items():
        assert Provenance.from_dict({**MADE.to_dict(), name: value}).identity != MADE.identity


def places(value, path=()):
    """Yield the place of each value inside a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


@settings(max_examples=200)
@given(st.data())
def test_a_changed_record_is_read_or_refused_in_a_sentence(tmp_path_factory, data):
    content = json.loads(annotated_bytes(RECORD))
    *path, last = data.draw(st.sampled_from([place for place in places(content) if place]))
    changed = copy.deepcopy(content)
    inner = changed
    for key in path:
        inner = inner[key]
    inner[last] = data.draw(JSON)
    layout = written(tmp_path_factory.mktemp("record"), json.dumps(changed).encode())
    found, sentence = Annotated(), ""
    try:
        found = read_annotated(layout)
    except DatasetError as error:
        sentence = str(error)
    assert not sentence or str(layout.annotations) in sentence
    assert all(isinstance(entry.provenance.identity, str) for entry in found.entries)
    annotated_bytes(found)


@given(JSON)
def test_any_json_is_read_or_refused(tmp_path_factory, content):
    layout = written(tmp_path_factory.mktemp("record"), json.dumps(content).encode())
    with pytest.raises(DatasetError, match="annotations"):
        read_annotated(layout)


def test_only_what_belongs_to_a_dataset_is_moved(tmp_path):
    layout = Layout(tmp_path / "dataset")
    for name in ("data/train-00000-of-00001.parquet", "manifest.parquet", ".speechtok/plan.json", "evil.py"):
        file = layout.annotated / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("new")
    (layout.annotated / "README.md").symlink_to("/etc/hostname")
    assert layout.current(layout.manifest) == layout.annotated / "manifest.parquet"
    assert layout.current(layout.readme) == layout.readme
    settle(layout)
    found = sorted(layout.relative(path) for path in layout.root.rglob("*") if not path.is_dir())
    assert found == ["data/train-00000-of-00001.parquet", "manifest.parquet"]


def test_a_link_in_place_of_the_folder_is_left_alone(tmp_path):
    layout = Layout(tmp_path / "dataset")
    layout.state.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/manifest.parquet").write_text("theirs")
    layout.annotated.symlink_to(tmp_path / "elsewhere")
    settle(layout)
    assert (tmp_path / "elsewhere/manifest.parquet").exists()
    assert layout.annotated in layout.links
