"""The columns of a token dataset, as Arrow types and as Hugging Face features.

Conventions: a stream with one codebook is `list<uint16>` of frames; one with more is
`list<list<uint16>>`, codebooks × frames, coarse first; uint32 where a codebook has more than 65,536 codes. Codes are
raw: no offsets, no specials.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from speechtok.errors import DatasetError
from speechtok.shards.annotated import Provenance
from speechtok.tokens import StreamInfo, TokenizerInfo
from speechtok.utterances import RESERVED_COLUMNS

FORMAT_VERSION = 2
"""Version of the on-disk format; readers refuse what is newer."""

METADATA_KEY = b"speechtok"
"""Key of the JSON in the Parquet file's metadata: format version, tokenizer info and card."""


_DTYPES = {
    "double": "float64",
    "float": "float32",
    "halffloat": "float16",
    "date32[day]": "date32",
    "date64[ms]": "date64",
}
"""Arrow types whose name `datasets` spells in another way."""


def code_type(stream: StreamInfo) -> pa.DataType:
    """Return the Arrow type of a stream's codes."""
    return pa.uint16() if stream.codebook_size <= 1 << 16 else pa.uint32()


def stream_type(stream: StreamInfo) -> pa.DataType:
    """Return the Arrow type of a stream's column."""
    frames = pa.list_(code_type(stream))
    return frames if stream.num_codebooks == 1 else pa.list_(frames)


def token_schema(
    info: TokenizerInfo,
    card: Mapping[str, Any],
    extra: Mapping[str, pa.DataType],
    annotations: Sequence[Provenance] = (),
) -> pa.Schema:
    """Return the schema of token rows.

    Args:
        info: the tokenizer; its streams become columns.
        card: the tokenizer's card as plain values, kept in the file's metadata.
        extra: columns of the corpus, by name.
        annotations: what has added columns, kept in the file's metadata.
    """
    added = {column.name: column.arrow_type for item in annotations for column in item.columns}
    fields = [pa.field("id", pa.string(), nullable=False)]
    fields += [pa.field(stream.name, stream_type(stream), nullable=False) for stream in info.streams]
    if info.speaker_embedding_dim is not None:
        fields.append(
            pa.field("speaker_embedding", pa.list_(pa.float32(), info.speaker_embedding_dim), nullable=False)
        )
    if info.has_scale:
        fields.append(pa.field("scale", pa.float32(), nullable=False))
    fields += [
        pa.field("num_samples", pa.int64(), nullable=False),
        pa.field("duration", pa.float64(), nullable=False),
        pa.field("audio", pa.string(), nullable=False),
        pa.field("source_sample_rate", pa.int32(), nullable=False),
        *(pa.field(name, pa.string()) for name in ("text", "speaker", "language")),
        *(pa.field(name, kind) for name, kind in {**extra, **added}.items()),
    ]
    described = {"format_version": FORMAT_VERSION, "tokenizer": info.to_dict(), "card": dict(card)}
    described |= {"annotations": [item.to_dict() for item in annotations]} if annotations else {}
    return with_features(pa.schema(fields)).with_metadata(
        {
            **with_features(pa.schema(fields)).metadata,
            METADATA_KEY: json.dumps(described, sort_keys=True).encode(),
        }
    )


def quarantine_schema() -> pa.Schema:
    """Return the schema of quarantine rows: what failed, at which stage, and why."""
    return with_features(
        pa.schema([pa.field(name, pa.string()) for name in ("id", "audio", "stage", "error", "message")])
    )


def dropped_schema() -> pa.Schema:
    """Return the schema of rows that were left out: which, why, and what makes the reason hold, such as the row it repeats."""
    texts = [pa.field(name, pa.string()) for name in ("text", "speaker", "language", "reason", "detail")]
    fields = [pa.field("id", pa.string()), pa.field("audio", pa.string()), pa.field("duration", pa.float64())]
    return with_features(pa.schema([*fields, *texts]))


def with_features(schema: pa.Schema) -> pa.Schema:
    """Return the schema with the metadata that gives `datasets` the exact types."""
    described = {"info": {"features": features(schema)}}
    return schema.with_metadata({b"huggingface": json.dumps(described).encode()})


def features(schema: pa.Schema) -> dict[str, Any]:
    """Return the Hugging Face features of a schema, as JSON values."""
    return {field.name: _feature(field.type) for field in schema}


def column_names(info: TokenizerInfo) -> set[str]:
    """Return the names a corpus column cannot take."""
    return {*RESERVED_COLUMNS, "speaker_embedding", "scale", *(stream.name for stream in info.streams)}


def read_info(schema: pa.Schema, source: str) -> tuple[TokenizerInfo, dict[str, Any]]:
    """Return the tokenizer and the card's values that a token file carries.

    Raises:
        DatasetError: when the file was not written by speechtok, or by a newer version.
    """
    described = (schema.metadata or {}).get(METADATA_KEY)
    if described is None:
        raise DatasetError(
            f"{source} holds no speech tokens: its metadata lacks the entry '{METADATA_KEY.decode()}'."
        )
    try:
        values = json.loads(described)
        version, card = int(values["format_version"]), dict(values["card"])
        info = TokenizerInfo.from_dict(values["tokenizer"]) if version <= FORMAT_VERSION else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise DatasetError(f"{source} has damaged metadata ({error!r}); make or fetch it again.") from error
    if info is None:
        raise DatasetError(
            f"{source} has format version {version}, but this speechtok reads up to {FORMAT_VERSION}; "
            "upgrade speechtok."
        )
    return info, card


def read_annotations(schema: pa.Schema, source: str) -> tuple[Provenance, ...]:
    """Return what has added columns to a token file.

    Raises:
        DatasetError: when its metadata are damaged.
    """
    try:
        values = json.loads((schema.metadata or {})[METADATA_KEY]).get("annotations", [])
        return tuple(Provenance.from_dict(item) for item in values)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DatasetError(
            f"{source} has damaged metadata about annotations ({error!r}); make or fetch it again."
        ) from error


def check_columns(schema: pa.Schema, info: TokenizerInfo, source: str) -> None:
    """Raise `DatasetError` where a column that every reader knows is missing or of another type than tokens have."""
    lists = {stream.name: stream for stream in info.streams}
    if not lists:
        raise DatasetError(f"{source} holds no speech tokens: its tokenizer has no streams.")
    for name in ("id", "num_samples", *lists):
        if schema.get_all_field_indices(name) == []:
            raise DatasetError(f"{source} holds no speech tokens: it has no column '{name}'.")
    for field in schema:
        kind = field.type
        if len(schema.get_all_field_indices(field.name)) > 1:
            raise DatasetError(f"{source} has the column '{field.name}' twice.")
        if field.name in lists:
            is_right = _holds_codes(kind, lists[field.name])
        elif field.name == "speaker_embedding":
            is_right = pa.types.is_fixed_size_list(kind) and kind.value_type == pa.float32()
            is_right = is_right and info.speaker_embedding_dim in (None, kind.list_size)
        elif field.name in ("num_samples", "source_sample_rate"):
            is_right = pa.types.is_integer(kind)
        elif field.name in ("scale", "duration"):
            is_right = pa.types.is_floating(kind)
        elif field.name in RESERVED_COLUMNS:
            is_right = _is_text(kind) or (pa.types.is_null(kind) and field.name != "id")
        else:
            continue
        if not is_right:
            raise DatasetError(
                f"{source} has the column '{field.name}' of type {kind}, as no token file has."
            )


def _holds_codes(kind: pa.DataType, stream: StreamInfo) -> bool:
    depth = 1 if stream.num_codebooks == 1 else 2
    while depth and (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        kind, depth = kind.value_type, depth - 1
    return depth == 0 and kind == code_type(stream)


def _is_text(kind: pa.DataType) -> bool:
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(inner) or pa.types.is_large_string(inner))


def _feature(kind: pa.DataType) -> Any:
    if pa.types.is_fixed_size_list(kind):
        return {"feature": _feature(kind.value_type), "length": kind.list_size, "_type": "Sequence"}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "Sequence"}
    if pa.types.is_struct(kind):
        return {kind.field(index).name: _feature(kind.field(index).type) for index in range(kind.num_fields)}
    if pa.types.is_timestamp(kind):
        return {"dtype": str(kind), "_type": "Value"}
    return {"dtype": _DTYPES.get(str(kind), str(kind)), "_type": "Value"}
