"""Name → card → files → tokenizer: the one place that knows every family."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from speechtok.cards import CARD_FILE, TokenizerCard, find_card, list_tokenizers, read_tokenizer_card
from speechtok.cards.yaml_file import nearest
from speechtok.errors import CardError, CheckpointError, HubError
from speechtok.hub import check_sha256, download_file

if TYPE_CHECKING:
    import torch

    from speechtok.tokenizers.base import SpeechTokenizer

FAMILIES = {
    "dmel": "speechtok.tokenizers.dmel.tokenizer:DMelTokenizer",
    "facodec": "speechtok.tokenizers.facodec.tokenizer:FacodecTokenizer",
    "funcodec": "speechtok.tokenizers.funcodec.tokenizer:FuncodecTokenizer",
}
"""Family name → the class that builds it."""


def load_tokenizer(
    name: str | Path,
    *,
    checkpoint: str | Path | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    revision: str | None = None,
) -> SpeechTokenizer:
    """Return a tokenizer, ready to encode and decode.

    Args:
        name: a card's name, a path to a card, a folder that `save_pretrained` wrote, or a Hub
            repository that holds one.
        checkpoint: local folder with the published files under their published names; without it
            the card's files come from the Hub's cache.
        device: where tensors live.
        dtype: float type of all computation; float32 when left out.
        revision: commit or tag to take from the Hub instead of the card's.

    Raises:
        CardError: for an unknown name, a malformed card or an unknown family.
        CheckpointError: for missing, damaged or misshaped weights.
        HubError: when files must be fetched and cannot be.
    """
    import torch

    card, folder, repository = _resolve(name, revision)
    files = {
        file.path: _locate(card, index, folder, repository, checkpoint, revision)
        for index, file in enumerate(card.files)
    }
    if card.family not in FAMILIES:
        raise CardError(
            f"Card '{card.name}' names the unknown family '{card.family}'{nearest(card.family, FAMILIES) or '.'}"
        )
    module, kind = FAMILIES[card.family].split(":")
    family: type[SpeechTokenizer] = getattr(import_module(module), kind)
    return family.from_card(card, files, device=device, dtype=dtype or torch.float32)


def _resolve(name: str | Path, revision: str | None) -> tuple[TokenizerCard, Path, str | None]:
    """Return a card, the folder its own files lie in, and the Hub repository it came from, if any."""
    text = str(name)
    is_repository = (
        text.count("/") == 1 and not Path(name).exists() and Path(name).suffix not in (".yaml", ".yml")
    )
    if is_repository and not text.startswith((".", "/", "~")):
        try:
            path = download_file(text, CARD_FILE, revision=revision)
        except HubError as error:
            raise HubError(
                f"'{text}' is neither a local folder nor a reachable Hub repository with a {CARD_FILE}: {error}"
            ) from error
        return read_tokenizer_card(path), path.parent, text
    card, path = find_card(name)
    return card, path.parent, None


def _locate(
    card: TokenizerCard,
    index: int,
    folder: Path,
    repository: str | None,
    checkpoint: str | Path | None,
    revision: str | None,
) -> Path:
    file = card.files[index]
    if checkpoint is not None:
        path = Path(checkpoint) / file.path
        if not path.is_file():
            raise CheckpointError(
                f"Tokenizer '{card.name}' needs the file {file.path} in {checkpoint}, where there is none."
            )
    elif file.repository or repository:
        path = download_file(
            file.repository or str(repository), file.path, revision=revision or file.revision
        )
    else:
        path = folder / file.path
        if not path.is_file():
            raise CheckpointError(
                f"Tokenizer '{card.name}' needs the file {file.path} beside its card in {folder}."
            )
    if file.sha256 is not None:
        check_sha256(path, file.sha256)
    return path


__all__ = ["FAMILIES", "list_tokenizers", "load_tokenizer"]
