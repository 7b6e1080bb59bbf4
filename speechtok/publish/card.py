"""The dataset card on the Hub: the README of the job, completed with what only the finished dataset knows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from speechtok.cards.yaml_file import dump_yaml
from speechtok.shards.dataset_readme import front_matter, readme_body
from speechtok.shards.plan import Plan, ShardRecord
from speechtok.shards.schema import quarantine_schema, token_schema
from speechtok.shards.statistics import Statistics, StreamStatistics
from speechtok.wording import count_text, duration_text

PLOT = "images/statistics.png"
"""Path of the picture in the repository."""
MOST_NAMED = 20
"""Languages that are listed by name."""
_SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000)


def dataset_card(
    repository: str,
    plan: Plan,
    records: Sequence[ShardRecord],
    statistics: Statistics,
    *,
    licence: str | None = None,
    citation: str | None = None,
) -> str:
    """Return the README.md of a pushed dataset.

    Args:
        repository: user/name.
        plan: what the dataset holds.
        records: its shards.
        statistics: of its tokens.
        licence: identifier of the licence of the recordings, as the Hub spells it.
        citation: how to cite the recordings.
    """
    head = front_matter(plan, records)
    head |= {"license": licence} if licence else {}
    head |= {"language": list(statistics.languages)} if statistics.languages else {}
    head |= {
        "task_categories": ["text-to-speech", "automatic-speech-recognition"],
        "size_categories": [_size_category(statistics.rows)],
        "dataset_info": _dataset_info(plan, records),
    }
    corpus = _corpus(plan, licence, citation)
    body = readme_body(plan, records, repository)
    return f"---\n{dump_yaml(head)}---\n\n{body}\n{_statistics(statistics)}\n{corpus}"


def _dataset_info(plan: Plan, records: Sequence[ShardRecord]) -> list[dict[str, Any]]:
    """Return features and sizes of each configuration, as `datasets` reads them."""
    schema = token_schema(plan.info, plan.card, plan.extra_types)
    rows = {split: sum(item.rows for item in records if item.split == split) for split in plan.splits}
    failed = {
        split: sum(len(item.quarantined) for item in records if item.split == split) for split in plan.splits
    }
    found = [("default", schema, rows), ("quarantine", quarantine_schema(), failed)]
    return [
        {
            "config_name": name,
            "features": [{"name": field.name, **_yaml_feature(field.type)} for field in columns],
            "splits": [{"name": split, "num_examples": count} for split, count in counts.items() if count],
        }
        for name, columns, counts in found
        if any(counts.values())
    ]


def _yaml_feature(kind: pa.DataType) -> dict[str, Any]:
    from speechtok.shards.schema import features

    return _in_yaml(features(pa.schema([pa.field("x", kind)]))["x"])


def _in_yaml(feature: Any) -> dict[str, Any]:
    """Return a feature as the YAML head spells it: lists by what they hold, structures by their fields."""
    if feature.get("_type") == "Value":
        return {"dtype": feature["dtype"]}
    if feature.get("_type") == "Sequence":
        inner = _in_yaml(feature["feature"])
        held = inner["dtype"] if set(inner) == {"dtype"} and isinstance(inner["dtype"], str) else inner
        return {"list": held, **({"length": feature["length"]} if "length" in feature else {})}
    return {"struct": [{"name": name, **_in_yaml(item)} for name, item in feature.items()]}


def _statistics(statistics: Statistics) -> str:
    languages = ", ".join(
        f"{name} ({rows:,})" for name, rows in list(statistics.languages.items())[:MOST_NAMED]
    )
    splits = ", ".join(f"{name} {rows:,}" for name, rows in statistics.splits.items())
    table = "\n".join(_stream_line(item) for item in statistics.streams)
    return f"""## Statistics

- {count_text(statistics.rows, "utterance")} ({splits}), {duration_text(statistics.seconds)} of speech
- speakers: {f"{len(statistics.speakers):,}" if statistics.speakers else "not stated"}
- languages: {languages or "not stated"}

| stream | codes | entropy, bits per code | bound | stored, bits per code | codes in use |
|---|---|---|---|---|---|
{table}

![Durations of the utterances, and entropy of each codebook against log2 of its size]({PLOT})
"""


def _stream_line(item: StreamStatistics) -> str:
    return (
        f"| `{item.stream.name}` | {item.num_codes:,} | {item.entropy.mean():.2f} "
        f"| {math.log2(item.stream.codebook_size):.2f} | {item.stored_bits_per_code:.2f} | {item.used.mean():.1%} |"
    )


def _corpus(plan: Plan, licence: str | None, citation: str | None) -> str:
    return f"""## Recordings

- corpus: {plan.settings["corpus"]["name"]}
- licence: {licence or "not stated; ask whoever published the tokens"}
- cite: {citation or "not stated"}
"""


def _size_category(rows: int) -> str:
    """Return the Hub's name for a number of rows, such as "1K<n<10K"."""
    names = ["1K", "10K", "100K", "1M", "10M", "100M", "1B"]
    above = [name for name, size in zip(names, _SIZES, strict=True) if rows >= size]
    if not above:
        return "n<1K"
    return f"{above[-1]}<n<{names[len(above)]}" if len(above) < len(names) else "n>1B"
