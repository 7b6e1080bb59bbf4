"""What is known of a released tokenizer before any weight is read."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from speechtok.cards.yaml_file import build, dump_yaml, read_yaml
from speechtok.errors import CardError
from speechtok.limits import require_sizes
from speechtok.tokens import StreamInfo, TokenizerInfo

T = TypeVar("T")

CARD_FILE = "tokenizer.yaml"
"""Name of the card inside a folder that `save_pretrained` wrote."""


@dataclass(frozen=True, kw_only=True)
class CardFile:
    """One published file that a tokenizer is loaded from."""

    path: str
    """Path inside the repository, and inside a local checkpoint folder."""
    repository: str | None = None
    """Hugging Face Hub repository; None for files beside the card."""
    folder: str | None = None
    """Sub-folder of a local checkpoint folder it lies in, where repositories have files of the same name."""
    optional: bool = False
    """Whether a local checkpoint folder may lack it; what needs it then says so."""
    revision: str | None = None
    """Commit or tag; None follows the main branch."""
    sha256: str | None = None
    """Hash of the file; left out while nobody has computed it."""

    @property
    def local_path(self) -> str:
        """Path inside a local checkpoint folder, by which a tokenizer knows its files."""
        return self.path if self.folder is None else f"{self.folder}/{self.path}"


@dataclass(frozen=True, kw_only=True)
class TokenizerCard:
    """A released tokenizer: enough to plan a job, write a schema and lay out a vocabulary."""

    name: str
    """Name users load it by."""
    family: str
    """Family that knows how to build it, such as "dmel"."""
    description: str
    """One sentence for listings."""
    sample_rate: int
    """Rate of the audio, in Hz."""
    streams: tuple[StreamInfo, ...]
    """The streams of codes, in order."""
    speaker_embedding_dim: int | None = None
    """Channels of the stored speaker vector, or None."""
    has_scale: bool = False
    """Whether a level per utterance is stored."""
    architecture: dict[str, Any] = field(default_factory=dict)
    """Values the family's config takes; what is left out keeps the family's default."""
    files: tuple[CardFile, ...] = ()
    """Published files; empty for tokenizers without weights, and for those whose parts no repository holds together."""
    published: str | None = None
    """Where such parts are published, in words; None where `files` says it or there are none."""
    licence_code: str
    """Licence of the method's code, as an SPDX identifier."""
    licence_weights: str | None = None
    """Licence of the weights, or None when there are none."""
    citation: str
    """How to cite the method."""

    def build_config(self, kind: type[T]) -> T:
        """Return the family's config, a dataclass, with the values of `architecture`.

        Raises:
            CardError: for an unknown field, a value of another type or beyond all sizes, or what the config refuses.
        """
        source = f"The architecture of card '{self.name}'"
        require_sizes(self.architecture, source, error=CardError)
        return build(kind, self.architecture, source)

    def info(self, fingerprint: str) -> TokenizerInfo:
        """Return what tokens of this tokenizer carry."""
        return TokenizerInfo(
            name=self.name,
            fingerprint=fingerprint,
            sample_rate=self.sample_rate,
            streams=self.streams,
            speaker_embedding_dim=self.speaker_embedding_dim,
            has_scale=self.has_scale,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for YAML and JSON."""
        values = asdict(self)
        values["streams"] = [asdict(stream) for stream in self.streams]
        values["files"] = [asdict(file) for file in self.files]
        return values

    def write(self, path: Path) -> None:
        """Write the card as YAML."""
        path.write_text(dump_yaml(self.to_dict()), encoding="utf-8")

    def with_files(self, files: tuple[CardFile, ...]) -> TokenizerCard:
        """Return the card with other files, as after saving weights beside it."""
        return replace(self, files=files)


def read_tokenizer_card(path: Path) -> TokenizerCard:
    """Return the card in the YAML file at `path`.

    Raises:
        CardError: when the file is missing or malformed, or a field is unknown, missing or of a wrong type.
    """
    card = build(TokenizerCard, read_yaml(path), f"Card {path}")
    for item in (card, *card.streams):
        require_sizes(vars(item), f"Card {path}", error=CardError)
    try:
        card.info("")
    except ValueError as error:
        raise CardError(f"Card {path}: {error}") from error
    return card
