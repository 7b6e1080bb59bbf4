"""The dataset card on the Hub: the README of the job, completed with what only the finished dataset knows."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import pyarrow as pa

from speechtok.cards import TokenizerCard, dump_yaml, merge, split_head, with_head
from speechtok.shards.dataset_readme import OF_ROWS, front_matter, readme_body
from speechtok.shards.layout import Layout
from speechtok.shards.ledger import Ledger
from speechtok.shards.parquet import open_parquet
from speechtok.shards.plan import Plan
from speechtok.shards.schema import dropped_schema, quarantine_schema
from speechtok.shards.statistics import Statistics, StreamStatistics
from speechtok.storage import AnyPath
from speechtok.wording import count_text, duration_text, markdown_text, printable

PLOT = "images/statistics.png"
"""Path of the picture in the repository."""
NOT_STATED = "not stated"
"""What stands for an unknown citation."""
MAX_NAMED = 20
"""Languages that are listed by name."""
_TASKS = ("text-to-speech", "automatic-speech-recognition")
_TASKS_WITHOUT_TEXT = ("audio-to-audio",)
_SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000)


def dataset_card(
    repository: str,
    layout: Layout,
    plan: Plan,
    ledger: Ledger,
    statistics: Statistics,
    *,
    licence: str | None = None,
    citation: str | None = None,
    old: str = "",
) -> str:
    """Return the README.md of a pushed dataset.

    Args:
        repository: user/name.
        layout: where the dataset lies.
        plan: what it holds.
        ledger: its parts and files.
        statistics: of its tokens.
        licence: identifier of the licence of the recordings, as the Hub spells it; None takes that of `old`.
        citation: how to cite the recordings; None takes that of `old`.
        old: the README so far. What people have added to it stays.
    """
    old_licence, old_citation = _stated(old)
    licence, citation = licence or old_licence, citation or old_citation
    head = front_matter(plan, ledger)
    head |= {"license": licence} if licence else {}
    head |= _languages(statistics)
    head |= {
        "task_categories": list(_TASKS if statistics.texts else _TASKS_WITHOUT_TEXT),
        "size_categories": [size_category(statistics.rows)],
        "dataset_info": _dataset_info(layout, plan, ledger),
    }
    parts = (
        readme_body(plan, ledger, repository),
        _statistics(statistics, ledger),
        _tokenizer_card(plan),
        _corpus(plan, licence, citation),
    )
    return merge(with_head(head, "\n".join(parts)), old, stale=OF_ROWS)


def _stated(old: str) -> tuple[str | None, str | None]:
    """Return licence and citation of the recordings that a README states."""
    head, body = split_head(old)
    licence = head.get("license")
    cited = re.search(r"^## Recordings\n.*?^- cite: (.*?)(?=^## |\Z)", body, flags=re.DOTALL | re.MULTILINE)
    citation = cited[1].strip() if cited else NOT_STATED
    return licence if isinstance(licence, str) else None, None if citation == NOT_STATED else citation


def _dataset_info(layout: Layout, plan: Plan, ledger: Ledger) -> list[dict[str, Any]]:
    """Return features and sizes of each configuration, as `datasets` reads them."""
    shards = {
        split: [layout.root / item.file for item in ledger.files.values() if item.split == split]
        for split in plan.splits
    }
    failed = {split: [layout.quarantine(split)] for split in plan.splits}
    schema = plan.token_schema
    found = []
    dropped = {split: [layout.dropped(split)] for split in plan.dropped}
    unknown = {split: [layout.annotation_quarantine(split)] for split in plan.annotated.quarantine}
    for name, columns, files in (
        ("default", schema, shards),
        ("quarantine", quarantine_schema(), failed),
        ("dropped", dropped_schema(), dropped),
        ("quarantine_annotations", quarantine_schema(), unknown),
    ):
        splits: list[dict[str, Any]] = [{"name": split, **_sizes(paths)} for split, paths in files.items()]
        splits = [split for split in splits if split["num_examples"]]
        if splits:
            found.append(
                {
                    "config_name": name,
                    "features": [{"name": field.name, **_yaml_feature(field.type)} for field in columns],
                    "splits": splits,
                    "download_size": sum(path.stat().st_size for paths in files.values() for path in paths),
                    "dataset_size": sum(split["num_bytes"] for split in splits),
                }
            )
    return found


def _sizes(files: Sequence[AnyPath]) -> dict[str, int]:
    """Return rows of Parquet files and their bytes in memory, as `datasets` counts them."""
    rows = memory = 0
    for path in files:
        file = open_parquet(path)
        rows += file.metadata.num_rows
        memory += sum(file.read_row_group(group).nbytes for group in range(file.num_row_groups))
    return {"num_bytes": memory, "num_examples": rows}


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


def _languages(statistics: Statistics) -> dict[str, list[str]]:
    """Return the fields of the head that name languages, as the Hub accepts them.

    `language` holds ISO 639 codes alone; labels such as "en-US" go to `language_bcp47`, and others to the text below.
    """
    labels = [label.replace("_", "-") for label in statistics.languages]
    tags = [label for label in labels if re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*", label)]
    codes = list(dict.fromkeys(tag.split("-")[0].lower() for tag in tags))
    longer = list(dict.fromkeys(tag for tag in tags if "-" in tag))
    return ({"language": codes} if codes else {}) | ({"language_bcp47": longer} if longer else {})


def _statistics(statistics: Statistics, ledger: Ledger) -> str:
    languages = ", ".join(
        f"{markdown_text(name)} ({rows:,})" for name, rows in list(statistics.languages.items())[:MAX_NAMED]
    )
    splits = "\n".join(
        f"| `{name}` | {rows:,} | {duration_text(ledger.seconds(name))} |"
        for name, rows in statistics.splits.items()
        if rows
    )
    table = "\n".join(_stream_line(item) for item in statistics.streams)
    shortest, middle, longest = (
        duration_text(float(value)) for value in np.quantile(statistics.durations, (0, 0.5, 1))
    )
    return f"""## Statistics

| split | utterances | duration |
|---|---|---|
{splits}

- lengths: {shortest} to {longest}, half of them up to {middle}
- speakers: {f"{len(statistics.speakers):,}" if statistics.speakers else "not stated"}
- languages: {languages or "not stated"}
- text: {f"{statistics.texts:,} of {count_text(statistics.rows, 'utterance')}" if statistics.texts else "none"}

| stream | codes | entropy, bits per code | of its lowest codebook | bound | stored, bits per code | perplexity | codes in use |
|---|---|---|---|---|---|---|---|
{table}

![Durations of the utterances, and entropy of each codebook against log2 of its size]({PLOT})
"""


def _stream_line(item: StreamStatistics) -> str:
    cells = (
        f"`{item.stream.name}`",
        f"{item.num_codes:,}",
        f"{item.entropy.mean():.2f}",
        f"{item.entropy.min():.2f}",
        f"{math.log2(item.stream.codebook_size):.2f}",
        f"{item.stored_bits_per_code:.2f}",
        f"{item.perplexity.mean():,.1f}",
        f"{item.used.mean():.1%}",
    )
    return f"| {' | '.join(cells)} |"


def _tokenizer_card(plan: Plan) -> str:
    """Return the section with the card itself, for those to whom its name says nothing."""
    order = [field.name for field in fields(TokenizerCard)]
    card = {
        name: plan.card[name]
        for name in dict.fromkeys((*order, *plan.card))
        if plan.card.get(name) is not None
    }
    text = dump_yaml(card).rstrip()
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"""## Tokenizer card

{fence}yaml
{text}
{fence}
"""


def _corpus(plan: Plan, licence: str | None, citation: str | None) -> str:
    return f"""## Recordings

- corpus: {markdown_text(plan.settings["corpus"]["name"])}
- licence: {printable(licence) if licence else "not stated; ask whoever published the tokens"}
- cite: {citation or NOT_STATED}
"""


def size_category(rows: int) -> str:
    """Return the Hub's name for a number of rows, such as "1K<n<10K"."""
    names = ["1K", "10K", "100K", "1M", "10M", "100M", "1B"]
    above = [name for name, size in zip(names, _SIZES, strict=True) if rows >= size]
    if not above:
        return "n<1K"
    return f"{above[-1]}<n<{names[len(above)]}" if len(above) < len(names) else "n>1B"
