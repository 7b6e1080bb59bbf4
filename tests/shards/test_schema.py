import json
from dataclasses import replace

import pyarrow as pa
import pytest

from speechtok.errors import DatasetError
from speechtok.shards.schema import (
    FORMAT_VERSION,
    column_names,
    features,
    quarantine_schema,
    read_info,
    token_schema,
)


def test_columns(toy_info):
    schema = token_schema(toy_info, {"name": "toy"}, {"mood": pa.string(), "n": pa.int64()})
    assert {field.name: str(field.type) for field in schema} == {
        "id": "string",
        "content": "list<item: uint16>",
        "residual": "list<item: list<item: uint16>>",
        "speaker_embedding": "fixed_size_list<item: float>[4]",
        "scale": "float",
        "num_samples": "int64",
        "duration": "double",
        "audio": "string",
        "source_sample_rate": "int32",
        "text": "string",
        "speaker": "string",
        "language": "string",
        "mood": "string",
        "n": "int64",
    }
    assert schema.names[0] == "id"
    assert [field.name for field in schema if field.nullable] == ["text", "speaker", "language", "mood", "n"]


def test_families_without_vectors(toy_info):
    names = token_schema(replace(toy_info, speaker_embedding_dim=None, has_scale=False), {}, {}).names
    assert "speaker_embedding" not in names
    assert "scale" not in names


def test_metadata_say_who_made_it(toy_info):
    schema = token_schema(toy_info, {"name": "toy", "citation": "x"}, {})
    assert read_info(schema, "x") == (toy_info, {"name": "toy", "citation": "x"})


def test_metadata_give_datasets_the_types(toy_info):
    schema = token_schema(toy_info, {}, {})
    described = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert described == features(schema)
    assert described["content"] == {"feature": {"dtype": "uint16", "_type": "Value"}, "_type": "Sequence"}
    assert described["speaker_embedding"]["length"] == 4


@pytest.mark.parametrize(
    "kind",
    [
        pa.bool_(),
        pa.int8(),
        pa.float32(),
        pa.float64(),
        pa.large_string(),
        pa.binary(),
        pa.date32(),
        pa.date64(),
        pa.time64("us"),
        pa.timestamp("us"),
        pa.timestamp("ns", tz="UTC"),
        pa.duration("ms"),
        pa.decimal128(10, 2),
        pa.list_(pa.int64()),
        pa.list_(pa.string(), 2),
        pa.struct([("a", pa.int64()), ("b", pa.list_(pa.string()))]),
    ],
    ids=str,
)
def test_datasets_understands_every_type(kind):
    from datasets import Features

    schema = pa.schema([pa.field("x", kind)])
    read = Features.from_arrow_schema(
        schema.with_metadata({b"huggingface": json.dumps({"info": {"features": features(schema)}}).encode()})
    )
    assert read.arrow_schema.field("x").type == kind


def test_quarantine_schema():
    assert quarantine_schema().names == ["id", "audio", "stage", "error", "message"]


def test_reserved_names(toy_info):
    assert {"id", "audio", "num_samples", "scale", "content", "residual", "language"} <= column_names(
        toy_info
    )


def test_not_ours(toy_info):
    with pytest.raises(
        DatasetError, match=r"x\.parquet holds no speech tokens: its metadata lacks the entry 'speechtok'"
    ):
        read_info(pa.schema([("a", pa.string())]), "x.parquet")


def test_newer_format(toy_info):
    schema = token_schema(toy_info, {}, {})
    values = json.loads(schema.metadata[b"speechtok"])
    newer = schema.with_metadata(
        {b"speechtok": json.dumps({**values, "format_version": FORMAT_VERSION + 1}).encode()}
    )
    with pytest.raises(
        DatasetError, match="has format version 3, but this speechtok reads up to 2; upgrade speechtok"
    ):
        read_info(newer, "x.parquet")
