"""Push a token dataset to the Hugging Face Hub, and pull one from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from speechtok.errors import DatasetError
from speechtok.hub import Pushed, download_repository, published_text, push_files
from speechtok.publish.card import PLOT, dataset_card
from speechtok.publish.figure import plot_statistics
from speechtok.shards.dataset_readme import read_readme
from speechtok.shards.layout import Layout, is_there
from speechtok.shards.ledger import Ledger, is_version_1
from speechtok.shards.manifest import FileRecord
from speechtok.shards.plan import Plan, read_plan
from speechtok.shards.statistics import compute_statistics
from speechtok.shards.verify import Verification, verify
from speechtok.storage import StorePath, as_path
from speechtok.wording import count_text

OWNED = ("data", "quarantine", "dropped", ".speechtok", "images")
"""Folders of a repository that hold the dataset and nothing else."""
README = "README.md"
"""Path of the dataset card in the repository."""


def push_dataset(
    dataset: str | Path,
    repository: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    tag: str | None = None,
    message: str | None = None,
    licence: str | None = None,
    citation: str | None = None,
    on_file: Callable[[FileRecord], None] | None = None,
) -> Pushed:
    """Make a repository on the Hub hold a token dataset, with a complete dataset card.

    The dataset is verified first. Sent are the files, the manifest, the quarantine, the plan and the records; where and how
    fast the last run was stays here. What the Hub has already is not sent again, so an interrupted push goes on. Of a card
    that is there already, what people have added stays: fields of the head, tags, sections.

    Args:
        dataset: a token dataset on this machine.
        repository: user/name; made when there is none.
        private: whether only the owner sees it; None makes a new repository private and leaves an old one alone.
        revision: branch to commit to, made when there is none; None takes the main one.
        tag: name that the commit gets besides.
        message: first line of the commit.
        licence: identifier of the licence of the recordings, as the Hub spells it, such as "cc-by-4.0"; None leaves
            what the card says.
        citation: how to cite the recordings; None leaves what the card says.
        on_file: called after each file that was verified.

    Raises:
        DatasetError: when the dataset is damaged or unfinished; nothing is sent then.
        HubError: when the Hub cannot be written; the same call later sends only what is missing.
    """
    root = _local(dataset)
    layout = Layout(root)
    _check(layout, verify(layout, on_file=on_file), "nothing was sent")
    plan = read_plan(layout)
    ledger = Ledger.read(layout, plan)
    statistics = compute_statistics(layout.root)
    if not statistics.rows:
        raise DatasetError(f"{layout.root} holds no utterance; nothing was sent.")
    old = published_text(repository, README, f"Dataset '{repository}' could not be pushed", revision=revision)
    if old is None:  # a new repository; a copy that was pulled from another one has its card
        old = read_readme(layout)
    card = dataset_card(
        repository, layout, plan, ledger, statistics, licence=licence, citation=citation, old=old
    )
    files: dict[str, Path | bytes] = {name: root / name for name in _names(layout, plan, ledger)}
    files |= {PLOT: plot_statistics(statistics), README: card.encode()}
    return push_files(
        repository,
        files,
        private=private,
        revision=revision,
        tag=tag,
        message=message or f"{count_text(statistics.rows, 'utterance')} made with {plan.info.name}",
        owned=OWNED,
    )


def pull_dataset(
    repository: str,
    folder: str | Path,
    *,
    revision: str | None = None,
    on_file: Callable[[FileRecord], None] | None = None,
) -> Verification:
    """Make a local folder hold the token dataset of a repository, and verify it.

    Args:
        repository: user/name.
        folder: where to put it; what is there already is not fetched again.
        revision: branch, tag or commit; None takes the main branch.
        on_file: called after each file that was verified.

    Raises:
        HubError: when something cannot be fetched; the same call later fetches only what is missing.
        DatasetError: when what was fetched is no token dataset, or is damaged.
    """
    layout = Layout(local := _local(folder))
    download_repository(repository, local, revision=revision)
    found = verify(layout, on_file=on_file)
    _check(layout, found, f"remove what is named and pull again, or ask who pushed '{repository}'")
    return found


def absolute_recordings(dataset: str | Path) -> int:
    """Return how many rows name their recording by an absolute path, which a push makes known."""
    plan = read_plan(Layout(Path(dataset)))
    return sum(
        name.startswith(("/", "file:"))
        for rows in plan.batches(["audio"])
        for name in rows["audio"].to_pylist()
    )


def _local(folder: str | Path) -> Path:
    if "\0" in str(folder):
        raise ValueError(f"A path cannot hold a NUL character, got {str(folder)!r}.")
    path = as_path(folder)
    if isinstance(path, StorePath):
        raise ValueError(f"{path} lies in an object store; the Hub is reached from a folder on this machine.")
    return path


def _check(layout: Layout, found: Verification, advice: str) -> None:
    if found.problems:
        raise DatasetError(
            f"{layout.root} is damaged or unfinished ({count_text(len(found.problems), 'problem')}, the first: "
            f"{found.problems[0].rstrip('.')}); {advice}."
        )


def _names(layout: Layout, plan: Plan, ledger: Ledger) -> list[str]:
    """Return the paths of the files that make up the dataset, those with tokens first."""
    own = [layout.quarantine(split) for split in plan.splits] + [
        layout.dropped(name) for name in plan.dropped
    ]
    if plan.annotated.entries:
        own += [layout.annotations, *map(layout.annotation_quarantine, plan.annotated.quarantine)]
    if is_version_1(layout):
        own += sorted((layout.state / "shards").glob("*.json"), key=str)
    else:
        own += [layout.parts_table, layout.manifest]
        own += [layout.listing] if is_there(layout.listing) else []
    return [*ledger.files, *(layout.relative(path) for path in (*own, layout.plan_rows, layout.plan))]
