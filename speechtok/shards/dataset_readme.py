"""The README.md of a token dataset: what `datasets`, the Hub viewer and people read first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from speechtok.shards.plan import Plan, ShardRecord
from speechtok.shards.schema import token_schema

OF_ROWS = ("dataset_info", "size_categories", "Statistics")
"""Fields of the head and sections that a published README adds, and that other rows make untrue."""


def front_matter(plan: Plan, records: Sequence[ShardRecord]) -> dict[str, Any]:
    """Return the YAML head: which files make up which configuration and split.

    Splits without rows are left out: `datasets` takes them for an error.
    """
    filled = [
        split for split in plan.splits if any(record.rows for record in records if record.split == split)
    ]
    failed = [
        split
        for split in plan.splits
        if any(record.quarantined for record in records if record.split == split)
    ]
    configs: list[dict[str, Any]] = [
        {
            "config_name": "default",
            "default": True,
            "data_files": [{"split": split, "path": f"data/{split}-*.parquet"} for split in filled],
        }
    ]
    if failed:
        files = [{"split": split, "path": f"quarantine/{split}.parquet"} for split in failed]
        configs.append({"config_name": "quarantine", "data_files": files})
    return {
        "pretty_name": f"{plan.info.name} speech tokens",
        "tags": ["speech", "speech-tokens", "speechtok", plan.info.name],
        "configs": configs,
    }


def readme_body(plan: Plan, records: Sequence[ShardRecord], address: str = "PATH") -> str:
    """Return the Markdown below the head: content, columns, tokenizer, provenance, how to use it.

    Args:
        plan: what the dataset holds.
        records: its shards.
        address: what readers open it by.
    """
    info = plan.info
    schema = token_schema(info, plan.card, plan.extra_types)
    streams = "\n".join(
        f"| `{item.name}` | {item.num_codebooks} | {item.codebook_size} | {item.frame_rate:g} | {item.bitrate_bps:,.0f} |"
        for item in info.streams
    )
    columns = "\n".join(f"| `{item.name}` | `{_type_name(item.type)}` |" for item in schema)
    licence = plan.card.get("licence_weights") or "no weights are used"
    return f"""# Speech tokens made with {info.name}

{summary(records)}

| stream | codebooks | codes per codebook | frames per second | bits per second |
|---|---|---|---|---|
{streams}

Codes are raw, in [0, codes per codebook), coarse codebooks first; a stream of several codebooks is
stored codebooks × frames.

## Use

```python
import speechtok

tokens = speechtok.TokenDataset("{address}").tokens(0)
waveform = speechtok.load_tokenizer("{info.name}").decode(tokens)  # (1, samples) at {info.sample_rate} Hz
```

`datasets.load_dataset("{address}")` reads the rows; `datasets.load_dataset("{address}", name="quarantine")` reads the
inputs that failed and why, when there are any.

## Columns

| column | type |
|---|---|
{columns}

## Tokenizer

- name: `{info.name}`, fingerprint `{info.fingerprint}`
- licence of the code: {plan.card["licence_code"]}; of the weights: {licence}
- cite: {plan.card["citation"]}

## Provenance

Made from the corpus `{plan.settings["corpus"]["name"]}` ({plan.settings["corpus"]["kind"]}) with
speechtok {plan.settings["speechtok_version"]}. The licence of the recordings applies to their tokens too.
`.speechtok/` holds the plan and a commit record with the sha256 of every shard; `speechtok verify` checks them.
"""


def summary(records: Sequence[ShardRecord]) -> str:
    """Return the sentence that says how much there is."""
    rows, seconds = sum(record.rows for record in records), sum(record.seconds for record in records)
    failed, size = sum(len(record.quarantined) for record in records), sum(record.bytes for record in records)
    return (
        f"{rows:,} utterances, {seconds / 3600:.2f} hours, {size / 1e6:.1f} MB of tokens; "
        f"{failed:,} inputs are in quarantine."
    )


def _type_name(kind: Any) -> str:
    return (
        str(kind)
        .replace("element: ", "")
        .replace("item: ", "")
        .replace("list<list<uint16>>", "list<list<uint16>> codebooks × frames")
    )
