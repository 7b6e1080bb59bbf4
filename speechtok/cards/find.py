"""Find cards and recipes: in a user's folders, in the installed package, in a bare checkout."""

from __future__ import annotations

import os
import reprlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from speechtok.cards.tokenizer_card import CARD_FILE, TokenizerCard, read_tokenizer_card
from speechtok.cards.yaml_file import nearest
from speechtok.errors import RequestError

CARDS_VARIABLE = "SPEECHTOK_CARDS"
"""Environment variable with more folders of cards, searched first, separated as in PATH."""
CARDS_GROUP = "speechtok.cards"
"""Entry points by which other packages add cards: any name = "package", whose folder holds them."""


def card_folders() -> list[Path]:
    """Return the folders that are searched for tokenizer cards, in order of precedence."""
    user = [Path(folder) for folder in os.environ.get(CARDS_VARIABLE, "").split(os.pathsep) if folder]
    return [folder for folder in [*user, *_shipped("tokenizers"), *_installed()] if folder.is_dir()]


def recipe_folders() -> list[Path]:
    """Return the folders that hold the shipped recipes."""
    return [folder for folder in _shipped("pipelines") if folder.is_dir()]


def list_tokenizers() -> list[str]:
    """Return the names of all tokenizer cards found, sorted."""
    return sorted(_cards())


def find_card(name: str | Path) -> tuple[TokenizerCard, Path]:
    """Return a card and the file it was read from.

    A folder without a card does not hide the card of the same name, so that an output folder may
    be called like its tokenizer.

    Args:
        name: name of a card, path of a card file, or a folder that `save_pretrained` wrote.

    Raises:
        RequestError: when nothing of that name exists; the nearest names are listed.
        CardError: when the card is malformed.
    """
    path = Path(name)
    try:
        is_there, has_card, is_folder = path.exists(), (path / CARD_FILE).is_file(), path.is_dir()
    except OSError as error:
        raise RequestError(
            f"The tokenizer {reprlib.repr(str(name))} cannot be looked up ({error.strerror})."
        ) from error
    if path.suffix in (".yaml", ".yml"):
        if not is_there:
            raise RequestError(f"There is no card {path}.")
        return read_tokenizer_card(path), path
    if has_card:
        return read_tokenizer_card(path / CARD_FILE), path / CARD_FILE
    cards = _cards()
    if str(name) not in cards and is_folder:
        raise RequestError(f"{path} is a folder without a {CARD_FILE}; `save_pretrained` writes one.")
    if str(name) not in cards:
        raise RequestError(
            f"There is no tokenizer '{name}'{nearest(str(name), cards) or '.'} "
            f"`speechtok tokenizers` lists those there are."
        )
    return read_tokenizer_card(cards[str(name)]), cards[str(name)]


def find_recipe(name: str | Path, kind: str = "") -> Path:
    """Return the recipe file at a path, or the shipped one of that name.

    Args:
        name: path or name.
        kind: sub-folder of the shipped ones, such as "training"; those of datasets lie in none.

    Raises:
        RequestError: when there is none; the nearest shipped names are listed.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = list_recipes(kind)
    wanted = path.name.removesuffix(".yaml")
    if wanted not in shipped or path.parent.name not in ("", kind or "pipelines"):
        known = nearest(wanted, shipped) or f"; there are {', '.join(shipped)}."
        raise RequestError(f"There is no recipe {name}{known}")
    return shipped[wanted]


def list_recipes(kind: str = "") -> dict[str, Path]:
    """Return the files of the shipped recipes by name, sorted.

    Args:
        kind: sub-folder, such as "training"; those of datasets lie in none.
    """
    files = [file for folder in reversed(recipe_folders()) for file in (folder / kind).glob("*.yaml")]
    return dict(sorted((file.stem, file) for file in files))


def _cards() -> dict[str, Path]:
    return {file.stem: file for folder in reversed(card_folders()) for file in sorted(folder.glob("*.yaml"))}


@cache
def _installed() -> tuple[Path, ...]:
    """Return the folders of cards that other installed packages have."""
    from importlib.metadata import entry_points  # a tenth of what `--help` takes

    packages = sorted(point.value for point in entry_points(group=CARDS_GROUP))
    specs = [find_spec(package) for package in packages]
    return tuple(Path(place) for spec in specs if spec for place in spec.submodule_search_locations or ())


def _shipped(kind: str) -> list[Path]:
    here = Path(__file__).resolve()
    return [here.parent / kind, here.parents[2] / kind]
