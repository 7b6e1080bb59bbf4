"""The README.md of a token dataset: what `datasets`, the Hub viewer and people read first."""

from __future__ import annotations

from typing import Any

from speechtok.errors import DatasetError
from speechtok.limits import MIB, read_bytes
from speechtok.shards.annotated import Column
from speechtok.shards.layout import Layout
from speechtok.shards.ledger import Ledger
from speechtok.shards.plan import Plan
from speechtok.wording import count_text, duration_text, markdown_code, markdown_text, size_text

README_BYTES = 16 * MIB
"""Length of a README."""
OF_ROWS = ("dataset_info", "size_categories", "Statistics")
"""Fields of the head and sections that a published README adds, and that other rows make untrue."""

_MEANINGS = {
    "id": "name of the utterance, unique in the dataset",
    "speaker_embedding": "speaker vector that `decode` needs",
    "scale": "level removed before encoding; `decode` restores it",
    "duration": "seconds",
    "audio": "recording, as the corpus names it",
    "source_sample_rate": "Hz, of the recording",
    "text": "transcript",
    "speaker": "label of the speaker",
    "language": "language",
    "start": "seconds into the recording where the utterance starts",
}
"""What columns hold that mean the same in every dataset."""


def read_readme(layout: Layout) -> str:
    """Return the README of a dataset, or an empty text when there is none.

    Raises:
        DatasetError: when it cannot be read as text.
    """
    readme = layout.current(layout.readme)
    if not readme.is_file():
        return ""
    try:
        return read_bytes(readme, README_BYTES, "README", error=DatasetError).decode()
    except UnicodeDecodeError as error:
        raise DatasetError(f"{layout.readme} is no UTF-8 text ({error}); mend or remove it.") from error


def front_matter(plan: Plan, ledger: Ledger) -> dict[str, Any]:
    """Return the YAML head: which files make up which configuration and split.

    Splits without rows are left out: `datasets` takes them for an error.
    """
    filled = [split for split in plan.splits if ledger.rows(split)]
    failed = [split for split in plan.splits if any(True for _ in ledger.failures(split))]
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
    if plan.dropped:
        files = [{"split": split, "path": f"dropped/{split}.parquet"} for split in plan.dropped]
        configs.append({"config_name": "dropped", "data_files": files})
    unknown = [split for split, item in plan.annotated.quarantine.items() if item["rows"]]
    if unknown:
        files = [{"split": split, "path": f"quarantine/annotations/{split}.parquet"} for split in unknown]
        configs.append({"config_name": "quarantine_annotations", "data_files": files})
    return {
        "pretty_name": f"{plan.info.name} speech tokens",
        "tags": ["speech", "speech-tokens", "speechtok", plan.info.name],
        "configs": configs,
    }


def readme_body(plan: Plan, ledger: Ledger, address: str = "PATH") -> str:
    """Return the Markdown below the head: content, columns, tokenizer, provenance, how to use it.

    Args:
        plan: what the dataset holds.
        ledger: its parts and files.
        address: what readers open it by.
    """
    info, corpus = plan.info, plan.settings["corpus"]
    streams = "\n".join(
        f"| `{item.name}` | {item.num_codebooks} | {item.codebook_size} | {item.frame_rate:g} | {item.bitrate_bps:,.0f} |"
        for item in info.streams
    )
    return f"""# Speech tokens made with {info.name}

{summary(ledger)}

| stream | codebooks | codes per codebook | frames per second | bits per second |
|---|---|---|---|---|
{streams}

Codes are raw, in [0, codes per codebook), coarse codebooks first; a stream of several codebooks is
stored codebooks × frames. The audio had {info.sample_rate:,} samples per second when it was encoded.

{_use(plan, ledger, address)}

## Columns

| column | type | meaning |
|---|---|---|
{_columns(plan)}
{_annotations(plan)}
## Tokenizer

{_tokenizer(plan)}

## Provenance

Made from the corpus {markdown_code(corpus["name"])} ({markdown_text(corpus["kind"])}) with
speechtok {markdown_text(plan.settings["speechtok_version"])}. The licence of the recordings applies to their tokens too.
`manifest.parquet` says what is in every file, with its sha256, and `.speechtok/` holds the plan; `speechtok verify` checks them.
"""


def summary(ledger: Ledger) -> str:
    """Return the sentence that says how much there is."""
    totals = ledger.totals
    return (
        f"{count_text(totals.rows, 'utterance')}, {duration_text(totals.seconds)} of speech in {size_text(ledger.bytes)} of tokens; "
        f"{count_text(totals.quarantined, 'input is', 'inputs are')} in quarantine."
    )


def _use(plan: Plan, ledger: Ledger, address: str) -> str:
    """Return the section that shows how to decode rows, train on them and read them without speechtok."""
    name, stream = plan.info.name, plan.info.streams[0].name
    needs_files = plan.card.get("licence_weights") and not plan.card.get("files")
    options = f'"{name}", checkpoint="FOLDER"' if needs_files else f'"{name}"'
    filled = [split for split in plan.splits if ledger.rows(split)] or plan.splits
    split = "train" if "train" in filled else filled[0]
    failed = (
        f'`datasets.load_dataset("{address}", name="quarantine")` reads the inputs that failed, and why.\n\n'
        if ledger.quarantined
        else ""
    )
    if plan.dropped:
        rows = count_text(sum(item["rows"] for item in plan.dropped.values()), "row")
        failed += f'`datasets.load_dataset("{address}", name="dropped")` reads the {rows} that were left out, and why.\n\n'
    if any(item["rows"] for item in plan.annotated.quarantine.values()):
        failed += (
            f'`datasets.load_dataset("{address}", name="quarantine_annotations")` reads the rows that an annotation has no value for, '
            "and why.\n\n"
        )
    return f"""## Use

```python
import speechtok

dataset = speechtok.TokenDataset("{address}", split="{split}")
tokenizer = speechtok.load_tokenizer({options})
waveform = tokenizer.decode(dataset.tokens(0))  # (1, samples) at tokenizer.output_sample_rate Hz

for batch in dataset.stream(max_tokens=8000):  # shuffled, for training
    codes = batch["{stream}"]  # (batch, codebooks, frames)
```

{failed}The rows are plain Parquet, so `datasets` reads them too:

```python
import datasets

rows = datasets.load_dataset("{address}", split="{split}")
```"""


def _columns(plan: Plan) -> str:
    """Return a line of a table for each column: name, type, meaning."""
    meanings = {
        stream.name: "codes, a list of frames for each codebook" if stream.num_codebooks > 1 else "codes"
        for stream in plan.info.streams
    }
    meanings |= {column.name: _meaning(column) for item in plan.annotations for column in item.columns}
    meanings |= _MEANINGS | {"num_samples": f"samples at {plan.info.sample_rate} Hz"}
    schema = plan.token_schema
    return "\n".join(
        f"| {markdown_code(item.name)} | {markdown_code(_type_name(item.type))} | {meanings.get(item.name, 'from the corpus')} |"
        for item in schema
    )


def _meaning(column: Column) -> str:
    """Return what the cells of a column hold, with unit and source."""
    unit = f", in {markdown_text(column.unit)}" if column.unit else ""
    source = f" ({markdown_text(column.source)})" if column.source else ""
    return f"{markdown_text(column.description)}{unit}{source}"


def _annotations(plan: Plan) -> str:
    """Return the section that says what has added columns, "" where nothing has."""
    failed = {entry.provenance.name: entry.failed for entry in plan.annotated.entries}
    lines = [
        f"| {markdown_code(item.name)} | {item.version} | {', '.join(markdown_code(column.name) for column in item.columns)} | "
        f"{', '.join(markdown_code(f'{name} = {value}') for name, value in item.settings.items()) or 'none'} | "
        f"{', '.join(markdown_code(f'{name} {sha256}') for name, sha256 in item.files.items()) or 'none'} | "
        f"{failed.get(item.name, 'not counted')} |"
        for item in plan.annotations
    ]
    table = "\n".join(lines)
    head = "| annotation | version | columns | settings | model files, sha256 | rows without values |\n|---|---|---|---|---|---|"
    return f"\n## Annotations\n\n{head}\n{table}\n" if lines else ""


def _tokenizer(plan: Plan) -> str:
    """Return the lines that name the tokenizer, its files, licences and paper."""
    info, card = plan.info, plan.card
    repositories = {
        markdown_code(file["repository"])
        + (f" at revision {markdown_code(file['revision'])}" if file.get("revision") else "")
        for file in card.get("files") or ()
        if file.get("repository")
    }
    lines = [f"name: `{info.name}`, fingerprint `{info.fingerprint}`"]
    lines += [markdown_text(card["description"])] if card.get("description") else []
    if card.get("files"):
        lines += [
            f"weights: {', '.join(sorted(repositories)) or 'local files, of which nothing says where they are from'}"
        ]
    lines += [
        f"licence of the code: {markdown_text(card.get('licence_code') or 'not stated')}; of the weights: "
        f"{markdown_text(card.get('licence_weights') or 'no weights are used')}",
        f"cite: {markdown_text(card.get('citation') or 'not stated')}",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _type_name(kind: Any) -> str:
    return str(kind).replace("element: ", "").replace("item: ", "")
