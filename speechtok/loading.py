"""Name → card → files → tokenizer: the one place that knows every family."""

from __future__ import annotations

import reprlib
import shlex
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from speechtok.cards import (
    CARD_FILE,
    CardFile,
    TokenizerCard,
    find_card,
    list_tokenizers,
    read_tokenizer_card,
)
from speechtok.cards.yaml_file import nearest
from speechtok.errors import CardError, CheckpointError, HubError
from speechtok.hub import check_sha256, download_file, is_repository, origin_of
from speechtok.storage import AnyPath, as_path, download_folder, inside, is_store

if TYPE_CHECKING:
    import torch

    from speechtok.tokenizers.base import SpeechTokenizer

FAMILIES = {
    "dmel": "speechtok.tokenizers.dmel.tokenizer:DMelTokenizer",
    "facodec": "speechtok.tokenizers.facodec.tokenizer:FacodecTokenizer",
    "facodec_24k": "speechtok.tokenizers.facodec_24k.tokenizer:Facodec24kTokenizer",
    "units": "speechtok.tokenizers.units.tokenizer:UnitTokenizer",
    "transformers_codecs": "speechtok.tokenizers.transformers_codecs.tokenizer:TransformersCodecTokenizer",
    "spectral": "speechtok.tokenizers.spectral.tokenizer:SpectralTokenizer",
    "snac": "speechtok.tokenizers.snac.tokenizer:SnacTokenizer",
    "funcodec": "speechtok.tokenizers.funcodec.tokenizer:FuncodecTokenizer",
}
"""Family name → the class that builds it."""
FAMILIES_GROUP = "speechtok.tokenizers"
"""Entry points by which other packages add families: the name of the family = "package.module:Class"."""


def load_tokenizer(
    name: str | Path,
    *,
    checkpoint: str | AnyPath | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    revision: str | None = None,
) -> SpeechTokenizer:
    """Return a tokenizer, ready to encode and decode.

    Args:
        name: a card's name, a path to a card, a folder that `save_pretrained` wrote, or a Hub
            repository that holds one.
        checkpoint: folder with the published files under their published names, local or in an object
            store, from where it is fetched once and kept; without it the card's files come from the Hub's cache.
        device: where tensors live.
        dtype: float type of all computation; float32 when left out.
        revision: commit or tag to take from the Hub instead of the card's.

    Raises:
        CardError: for an unknown name, a malformed card or an unknown family.
        CheckpointError: for missing, damaged or misshaped weights.
        HubError, StorageError: when files must be fetched and cannot be, or a card names one outside its folder.
        ValueError: when `device` cannot be used here, or `dtype` is no float type.
    """
    card, files = locate_files(name, checkpoint=checkpoint, revision=revision)
    return build_tokenizer(card, files, device=device, dtype=dtype)


def load_for_dataset(
    dataset: AnyPath,
    name: str,
    *,
    tokenizer: str | Path | None = None,
    checkpoint: str | AnyPath | None = None,
    device: torch.device | str = "cpu",
) -> SpeechTokenizer:
    """Return the tokenizer for a dataset's tokens: what was asked for, else the card known here of the name it states.

    A dataset may come from anybody, so it never chooses a file, folder or address to load: what its last run took is
    suggested in the error.

    Args:
        dataset: a token dataset or a file of tokens.
        name: the tokenizer's name in it.
        tokenizer: as `name` of `load_tokenizer`; None takes `name`.
        checkpoint: as for `load_tokenizer`.
        device: as for `load_tokenizer`.

    Raises:
        CardError: as `load_tokenizer`, and when no card known here has the dataset's name.
        CheckpointError, HubError, StorageError, ValueError: as `load_tokenizer`.
    """
    if tokenizer is None and name not in list_tokenizers():
        raise CardError(
            f"{dataset} was made by the tokenizer '{name}', of which no card is known here; name one with "
            f"--tokenizer.{_suggestion(dataset)}"
        )
    try:
        return load_tokenizer(tokenizer or name, checkpoint=checkpoint, device=device)
    except (CheckpointError, HubError) as error:
        if tokenizer is None and checkpoint is None and (more := _suggestion(dataset)):
            raise type(error)(f"{error}{more}") from error
        raise


def options_of_last_run(dataset: AnyPath) -> str:
    """Return the options by which the last run of a dataset chose files for its tokenizer, "" where it chose none.

    They are for people to read and repeat, since a dataset may come from anybody.
    """
    from speechtok.corpora.originals import read_run
    from speechtok.shards.layout import Layout

    about = read_run(Layout(dataset)).get("about")
    facts = about if isinstance(about, dict) else {}
    tokenizer, checkpoint = facts.get("tokenizer"), facts.get("checkpoint")
    options = {
        "--tokenizer": None if tokenizer in list_tokenizers() else tokenizer,
        "--checkpoint": checkpoint,
    }
    return " ".join(f"{option} {shlex.quote(str(value))}" for option, value in options.items() if value)


def _suggestion(dataset: AnyPath) -> str:
    options = options_of_last_run(dataset)
    return f" Its last run was given {options}; repeat that if you trust it." if options else ""


def locate_files(
    name: str | Path, *, checkpoint: str | AnyPath | None = None, revision: str | None = None
) -> tuple[TokenizerCard, dict[str, Path]]:
    """Return the card of a tokenizer, and the local path of each of its files.

    Files of a card on the Hub come back with their repository filled in. Files are fetched where they
    must be, and not yet read: their sha256 is compared by `build_tokenizer`.

    Args:
        name: as for `load_tokenizer`.
        checkpoint: as for `load_tokenizer`.
        revision: as for `load_tokenizer`.

    Raises:
        CardError: for an unknown name, a malformed card or an unknown family.
        CheckpointError: when a file is missing.
        HubError, StorageError: when files must be fetched and cannot be.
    """
    name = download_folder(as_path(name)) if is_store(name) else name
    checkpoint = None if checkpoint is None else download_folder(as_path(checkpoint))
    card, folder = _resolve(name, revision)
    try:
        is_folder = (Path(name) if checkpoint is None else checkpoint).is_dir()
    except OSError as error:
        raise CheckpointError(
            f"The folder {reprlib.repr(str(checkpoint))} cannot be looked at ({error.strerror})."
        ) from error
    known = families()
    if card.family not in known:
        raise CardError(
            f"Card '{card.name}' names the unknown family '{card.family}'{nearest(card.family, known) or '.'}"
        )
    if not card.files and (checkpoint is not None or is_folder):
        found = _family(card).find_files(card, folder if checkpoint is None else checkpoint)
        if found is not None:
            return card, found
    found = {}
    for file in card.files:
        path = _locate(card, file, folder, checkpoint, revision)
        if path is not None:
            found[file.local_path] = path
    return card, found


def build_tokenizer(
    card: TokenizerCard,
    files: Mapping[str, Path],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> SpeechTokenizer:
    """Return the tokenizer that a card describes, built from the files `locate_files` found.

    Raises:
        CardError: when the card does not fit its family.
        CheckpointError: when a file is damaged, has another sha256 than the card states, or does not fit.
        ValueError: when `device` cannot be used here, or `dtype` is no float type.
    """
    import torch

    from speechtok.nets.devices import usable_device, usable_dtype

    device, dtype = usable_device(device), torch.float32 if dtype is None else usable_dtype(dtype)
    for file in card.files:
        if file.sha256 is not None and file.local_path in files:
            check_sha256(files[file.local_path], file.sha256)
    family = _family(card)
    return family.from_card(_credited(card, files), files, device=device, dtype=dtype)


def _credited(card: TokenizerCard, files: Mapping[str, Path]) -> TokenizerCard:
    """Return the card with the repository of a file only where the file came from it, or its sha256 was compared."""

    def credited(file: CardFile) -> CardFile:
        path = files.get(file.local_path)
        origin = None if path is None else origin_of(path)
        if origin is not None and origin[0] == file.repository:
            return replace(file, revision=origin[1])
        return (
            file
            if file.sha256 is not None and path is not None
            else replace(file, repository=None, revision=None)
        )

    return card.with_files(tuple(credited(file) for file in card.files))


def families() -> dict[str, str]:
    """Return family name → "module:Class" of all families: ours, and those of installed packages.

    Raises:
        CardError: when two packages add a family of one name, or one is called like ours.
    """
    found = dict(FAMILIES)
    for point in _installed():
        if found.get(point.name, point.value) != point.value:
            raise CardError(
                f"The family '{point.name}' is claimed twice, by {found[point.name]} and {point.value}; uninstall one."
            )
        found[point.name] = point.value
    return found


@cache
def _installed() -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=FAMILIES_GROUP))


def _family(card: TokenizerCard) -> type[SpeechTokenizer]:
    """Return the class that builds a card's tokenizer."""
    place = families()[card.family]
    module, _, kind = place.partition(":")
    try:
        family: type[SpeechTokenizer] = getattr(import_module(module), kind)
    except (ImportError, AttributeError) as error:
        raise CardError(
            f"The family '{card.family}' of card '{card.name}' cannot be imported from {place}: {error}."
        ) from error
    return family


def _resolve(name: str | Path, revision: str | None) -> tuple[TokenizerCard, Path]:
    """Return a card and the folder its own files lie in; on the Hub, its files name their repository."""
    text = str(name)
    if is_repository(text):
        try:
            path = download_file(text, CARD_FILE, revision=revision)
        except HubError as error:
            raise HubError(
                f"'{text}' is neither a local folder nor a reachable Hub repository with a {CARD_FILE}: {error}"
            ) from error
        card = read_tokenizer_card(path)
        files = tuple(replace(file, repository=file.repository or text) for file in card.files)
        return card.with_files(files), path.parent
    card, path = find_card(name)
    return card, path.parent


def _locate(
    card: TokenizerCard, file: CardFile, folder: Path, checkpoint: Path | None, revision: str | None
) -> Path | None:
    """Return where a file lies; None for an optional one that a local folder lacks."""
    if checkpoint is not None:
        path = inside(checkpoint, file.local_path, follow_links=True)
        if path.is_file():
            return path
        if file.optional:
            return None
        raise CheckpointError(
            f"Tokenizer '{card.name}' needs the file {file.local_path} in {checkpoint}, where there is none."
        )
    if file.repository:
        return download_file(file.repository, file.path, revision=revision or file.revision)
    path = inside(folder, file.path, follow_links=True)
    if not path.is_file():
        raise CheckpointError(
            f"Tokenizer '{card.name}' needs the file {file.path} beside its card in {folder}."
        )
    return path


__all__ = ["FAMILIES", "build_tokenizer", "families", "list_tokenizers", "load_tokenizer", "locate_files"]
