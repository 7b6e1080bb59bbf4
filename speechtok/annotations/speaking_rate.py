"""How fast somebody speaks: characters and phones per second of a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from speechtok.annotations.base import Annotation, Row
from speechtok.errors import AnnotationError
from speechtok.shards.annotated import Column
from speechtok.tokens import StreamInfo


@dataclass(frozen=True, kw_only=True)
class SpeakingRate(Annotation):
    """Characters and phones per second, pauses included; a high or low rate tells of a text that is not what was said."""

    name, version, needs, uses = "speaking_rate", 1, frozenset({"text"}), ("phones",)

    def columns(self, streams: Sequence[StreamInfo]) -> tuple[Column, ...]:
        def column(name: str, description: str) -> Column:
            ours = "speechtok, How-to: annotate"
            return Column(name=name, type="float32", description=description, unit="1/s", source=ours)

        return (
            column("characters_per_second", "characters of the text, spaces left out, per second of the row"),
            column("phones_per_second", "phones per second of the row; null without phones"),
        )

    def __call__(self, row: Row) -> Mapping[str, Any]:
        if not row.duration > 0:
            raise AnnotationError("The row has no length.")
        phones = row.columns.get("phones")
        count = None if phones is None else len(phones.split() if isinstance(phones, str) else phones)
        return {
            "characters_per_second": len("".join((row.text or "").split())) / row.duration,
            "phones_per_second": None if count is None else count / row.duration,
        }
