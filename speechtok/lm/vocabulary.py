"""One numbering for everything a speech language model reads and writes.

Conventions: ids are consecutive, in blocks, in this order; blocks that are empty take no id.

    first_id  specials    <pad> <bos> <eos> <mask> <text> <speech>
              text        symbols: characters or phones
              speakers    <speaker_NAME>
              durations   <duration_1> … <duration_N>
              codes       for each stream, for each codebook: <STREAM_CODEBOOK_0> … coarse first

So code `c` of codebook `k` of a stream has the id `range_of(stream, k)[c]`, and an id alone tells what it
stands for. Models with one output head per codebook (delay and parallel layouts, masked models) use
*head ids* instead: the raw code, or `codebook_size + i` for special `i`, the same in every head.

Contents: `Vocabulary`.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from array_api_compat import array_namespace, device

from speechtok.errors import TokensError
from speechtok.limits import read_json
from speechtok.lm.arrays import ArrayT
from speechtok.tokens import StreamInfo, TokenizerInfo, first_codebooks

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPECIALS = ("pad", "bos", "eos", "mask", "text", "speech")
"""The specials every vocabulary starts with: padding, begin, end, masked code, start of text, start of speech."""

FORMAT_VERSION = 1
"""Version of the JSON that `save` writes."""


class HasStreams(Protocol):
    """What states its streams: a tokenizer, its card, its info, or the info of tokens."""

    @property
    def name(self) -> str:
        """Name of the tokenizer."""

    @property
    def streams(self) -> tuple[StreamInfo, ...]:
        """The streams, in order."""


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """The ids of codes, text, speakers and specials.

    `Vocabulary.of(tokenizer)` is the usual way to make one.

    Raises:
        ValueError: when two tokens have the same name, or a number is out of range.
    """

    streams: tuple[StreamInfo, ...]
    """The streams whose codes have ids, in order."""
    tokenizer: str | None = None
    """Name of the tokenizer the codes are of; None accepts any."""
    fingerprint: str | None = None
    """Fingerprint of that tokenizer; None accepts any."""
    text: tuple[str, ...] = ()
    """Text symbols: characters or phones."""
    speakers: tuple[str, ...] = ()
    """Names of speakers."""
    num_durations: int = 0
    """Longest run that has a duration token, in frames; 0 for no such tokens."""
    specials: tuple[str, ...] = SPECIALS
    """Names of specials, without brackets; those of `SPECIALS` come first."""
    first_id: int = 0
    """Id of the first token of this vocabulary: the size of the text vocabulary it extends, or 0."""
    borrowed: Mapping[str, int] = field(default_factory=dict, hash=False)
    """Specials that the extended text vocabulary has already, with their ids there."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "borrowed", dict(self.borrowed))
        if not self.streams:
            raise ValueError("`streams` must hold at least one stream.")
        if self.num_durations < 0 or self.first_id < 0:
            raise ValueError(
                f"`num_durations` and `first_id` must be at least 0, got {self.num_durations} and {self.first_id}."
            )
        if self.specials[: len(SPECIALS)] != SPECIALS:
            raise ValueError(f"`specials` must start with {SPECIALS}, got {self.specials}.")
        seen: set[str] = set()
        for token in self.tokens:
            if token in seen:
                raise ValueError(f"The token {token!r} occurs twice; names of tokens must differ.")
            seen.add(token)

    @classmethod
    def of(
        cls,
        source: HasStreams,
        *,
        streams: Sequence[str] | None = None,
        num_codebooks: int | None = None,
        text: Iterable[str] = (),
        speakers: Iterable[str] = (),
        num_durations: int = 0,
        specials: Iterable[str] = (),
    ) -> Self:
        """Return a vocabulary for the codes of a tokenizer.

        Args:
            source: a tokenizer, its card or info, or the `info` of tokens or of a token dataset.
            streams: names of the streams to use, in order; None takes all.
            num_codebooks: only the first ones of each stream, which are the coarse ones; collators keep these of tokens that
                have more. None takes all.
            text: text symbols in order of their ids, such as `sorted(set("".join(texts)))` or phones.
            speakers: names of speakers in order of their ids.
            num_durations: longest run with a duration token, for unit models.
            specials: names of further specials, after those every vocabulary has.

        Raises:
            TokensError: when the source has no stream of a name.
            ValueError: when `num_codebooks` is below 1.
        """
        if num_codebooks is not None and num_codebooks < 1:
            raise ValueError(f"`num_codebooks` must be at least 1, got {num_codebooks}.")
        have = {stream.name: stream for stream in first_codebooks(source.streams, num_codebooks)}
        for name in streams or ():
            if name not in have:
                raise TokensError(f"'{source.name}' has no stream '{name}'; it has: {', '.join(have)}.")
        return cls(
            streams=tuple(have.values()) if streams is None else tuple(have[name] for name in streams),
            tokenizer=source.name,
            fingerprint=getattr(source, "fingerprint", None),
            text=tuple(text),
            speakers=tuple(speakers),
            num_durations=num_durations,
            specials=(*SPECIALS, *specials),
        )

    def __len__(self) -> int:
        """Return the size of an embedding table that holds every id, those of an extended text vocabulary included."""
        return self.blocks[f"{self.streams[-1].name}_{self.streams[-1].num_codebooks - 1}"].stop

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """The tokens this vocabulary numbers, in order of their ids from `first_id` on."""
        codes = (
            f"<{stream.name}_{codebook}_{code}>"
            for stream in self.streams
            for codebook in range(stream.num_codebooks)
            for code in range(stream.codebook_size)
        )
        return (
            *(f"<{name}>" for name in self._own_specials),
            *self.text,
            *(f"<speaker_{name}>" for name in self.speakers),
            *(f"<duration_{frames}>" for frames in range(1, self.num_durations + 1)),
            *codes,
        )

    @property
    def num_codebooks(self) -> int:
        """Codebooks of all streams together."""
        return sum(stream.num_codebooks for stream in self.streams)

    @cached_property
    def blocks(self) -> dict[str, range]:
        """The blocks of ids by name: "specials", "text", "speakers", "durations", then "STREAM_CODEBOOK"."""
        sizes = {
            "specials": len(self._own_specials),
            "text": len(self.text),
            "speakers": len(self.speakers),
            "durations": self.num_durations,
        }
        for stream in self.streams:
            sizes |= {f"{stream.name}_{k}": stream.codebook_size for k in range(stream.num_codebooks)}
        blocks, first = {}, self.first_id
        for name, size in sizes.items():
            blocks[name] = range(first, first + size)
            first += size
        return blocks

    def range_of(self, stream: str, codebook: int = 0) -> range:
        """Return the ids of one codebook: to slice logits, or to keep a model to allowed codes."""
        if not 0 <= codebook < self._stream(stream).num_codebooks:
            raise TokensError(
                f"Stream '{stream}' has {self._stream(stream).num_codebooks} codebooks, so there is no codebook {codebook}."
            )
        return self.blocks[f"{stream}_{codebook}"]

    def special(self, name: str) -> int:
        """Return the id of a special by its name without brackets."""
        if name in self.borrowed:
            return self.borrowed[name]
        if name not in self.specials:
            raise TokensError(f"There is no special '{name}'; there are: {', '.join(self.specials)}.")
        return self.blocks["specials"][self._own_specials.index(name)]

    @property
    def pad_id(self) -> int:
        """Id of `<pad>`."""
        return self.special("pad")

    @property
    def bos_id(self) -> int:
        """Id of `<bos>`."""
        return self.special("bos")

    @property
    def eos_id(self) -> int:
        """Id of `<eos>`."""
        return self.special("eos")

    def speaker_id(self, name: str) -> int:
        """Return the id of a speaker."""
        if name not in self.speakers:
            raise TokensError(
                f"There is no speaker {name!r}; the vocabulary has {len(self.speakers)} speakers."
            )
        return self.blocks["speakers"][self.speakers.index(name)]

    def text_ids(self, symbols: Iterable[str]) -> list[int]:
        """Return the ids of text symbols: of the characters of a string, or of a list of phones."""
        found = []
        for position, symbol in enumerate(symbols):
            if symbol not in self._text_index:
                raise TokensError(
                    f"The text symbol {symbol!r} at position {position} is not in the vocabulary, which has "
                    f"{len(self.text)}; normalize the text or add the symbol."
                )
            found.append(self._text_index[symbol])
        return found

    def token(self, token_id: int) -> str:
        """Return the token with an id."""
        for name, given in self.borrowed.items():
            if given == token_id:
                return f"<{name}>"
        if not self.first_id <= token_id < len(self):
            raise TokensError(f"The id {token_id} must lie in [{self.first_id}, {len(self)}).")
        return self.tokens[token_id - self.first_id]

    def code_ids(self, codes: ArrayT, stream: str) -> ArrayT:
        """Return the ids of a stream's codes.

        Args:
            codes: `(…, codebooks, frames)`, raw codes; fewer codebooks than the stream has are the first.
            stream: name of the stream.

        Raises:
            TokensError: when a code is out of range, or there are more codebooks than the stream has.
        """
        info = self._stream(stream)
        check_range(codes, info, "Codes")
        ids: ArrayT = codes + self._first_ids(codes, info)
        return ids

    def codes_of(self, ids: ArrayT, stream: str) -> ArrayT:
        """Return the codes `(…, codebooks, frames)` that `code_ids` numbered.

        Raises:
            TokensError: when an id does not belong to its codebook.
        """
        info = self._stream(stream)
        codes: ArrayT = ids - self._first_ids(ids, info)
        check_range(codes, info, "Ids")
        return codes

    def split(self, ids: ArrayT) -> dict[str, ArrayT]:
        """Return the codes in a flat sequence of ids, whatever the layout that ordered them.

        The inverse of every flat layout: each id names its stream and codebook, and the ids of one
        codebook are in the order of time. Ids that are no codes are skipped; codebooks of a stream that have
        fewer codes than others, as at the end of a generated sequence cut short, shorten the whole stream.

        Args:
            ids: `(length,)`, ids of one sequence.

        Returns:
            Stream name → `(codebooks, frames)`, raw codes, with the codebooks that occur; streams with no id in `ids`
            have no frames.
        """
        xp = array_namespace(ids)
        streams = {}
        for stream in self.streams:
            rows = []
            for codebook in range(stream.num_codebooks):
                block = self.range_of(stream.name, codebook)
                rows.append(ids[(ids >= block.start) & (ids < block.stop)] - block.start)
            used = max((codebook + 1 for codebook, row in enumerate(rows) if row.shape[0]), default=1)
            shortest = min(row.shape[0] for row in rows[:used])
            streams[stream.name] = xp.stack([row[:shortest] for row in rows[:used]])
        return streams

    @property
    def codebook_size(self) -> int:
        """The largest codebook's size: where the specials of a head start."""
        return max(stream.codebook_size for stream in self.streams)

    @property
    def head_size(self) -> int:
        """Outputs of one head in models with a head per codebook: codes, then specials."""
        return self.codebook_size + len(self.specials)

    def head_special(self, name: str) -> int:
        """Return the id of a special inside every head."""
        self.special(name)
        return self.codebook_size + self.specials.index(name)

    def check_tokens(self, info: TokenizerInfo) -> None:
        """Raise `TokensError` unless tokens with this info are those the vocabulary is for."""
        if self.fingerprint not in (None, info.fingerprint) or self.tokenizer not in (None, info.name):
            raise TokensError(
                f"The vocabulary is for tokens of '{self.tokenizer}' with fingerprint {self.fingerprint}, but these "
                f"were made by '{info.name}' with {info.fingerprint}."
            )

    def to_tokenizer(self) -> PreTrainedTokenizerBase:
        """Return a Hugging Face `PreTrainedTokenizerFast` with the same ids, to save, share and decode with.

        Raises:
            ValueError: when the vocabulary extends another one: that one's tokenizer has the ids then.
        """
        from speechtok.lm.huggingface import build_tokenizer

        if self.first_id or self.borrowed:
            raise ValueError("This vocabulary extends a tokenizer; save that one, which has its tokens too.")
        return build_tokenizer(
            self.tokens,
            specials=self.specials,
            numbered=("duration", *(stream.name for stream in self.streams)),
            words=(*self.text, *(f"<speaker_{name}>" for name in self.speakers)),
        )

    def add_to(self, tokenizer: PreTrainedTokenizerBase) -> Self:
        """Add the tokens to a Hugging Face tokenizer, such as an LLM's, and return the vocabulary of the result.

        Specials that the tokenizer has already keep their ids. Text stays the tokenizer's business: a vocabulary
        with text symbols of its own is refused. Resize the model with
        `model.resize_token_embeddings(len(tokenizer))`.

        Raises:
            ValueError: when the vocabulary has text symbols.
            TokensError: when the tokenizer has some of the tokens, but not as this vocabulary would number them.
        """
        from speechtok.lm.huggingface import add_tokens

        if self.text:
            raise ValueError(
                "A vocabulary with text symbols cannot be added to a tokenizer, which has its own text; leave out `text`."
            )
        others = self.tokens[len(self.blocks["specials"]) :]
        first_id, borrowed = add_tokens(tokenizer, self.specials, others)
        return replace(self, first_id=first_id, borrowed=borrowed)

    def save(self, path: str | Path) -> None:
        """Write the vocabulary as JSON."""
        values = {"format_version": FORMAT_VERSION, **asdict(self)}
        Path(path).write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Return the vocabulary that `save` wrote.

        Raises:
            TokensError: when the file is missing or is no vocabulary.
        """
        try:
            values = read_json(Path(path), "vocabulary", error=TokensError)
            version = int(values.pop("format_version"))
            if version > FORMAT_VERSION:
                raise TokensError(
                    f"{path} has format version {version}, but this speechtok reads up to {FORMAT_VERSION}; upgrade speechtok."
                )
            values["streams"] = tuple(StreamInfo(**stream) for stream in values["streams"])
            known: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
            }
            return cls(**known)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            reason = f"{type(error).__name__}: {reprlib.repr(str(error))}"
            raise TokensError(f"{path} is no vocabulary that speechtok wrote ({reason}).") from error

    @cached_property
    def _own_specials(self) -> tuple[str, ...]:
        return tuple(name for name in self.specials if name not in self.borrowed)

    @cached_property
    def _text_index(self) -> dict[str, int]:
        return dict(zip(self.text, self.blocks["text"], strict=True))

    def _stream(self, name: str) -> StreamInfo:
        for stream in self.streams:
            if stream.name == name:
                return stream
        raise TokensError(
            f"The vocabulary has no stream '{name}'; it has: {', '.join(stream.name for stream in self.streams)}."
        )

    def _first_ids(self, like: Any, stream: StreamInfo) -> Any:
        """Return the first id of each codebook, `(codebooks, 1)`, as an array of the kind of `like`."""
        count = like.shape[-2] if like.ndim > 1 else 0
        if not 1 <= count <= stream.num_codebooks:
            raise TokensError(
                f"Codes of stream '{stream.name}' must be (…, codebooks<={stream.num_codebooks}, frames), "
                f"got shape {tuple(like.shape)}."
            )
        xp = array_namespace(like)
        first = self.range_of(stream.name).start
        return xp.asarray([[first + k * stream.codebook_size] for k in range(count)], device=device(like))


def check_range(codes: Any, stream: StreamInfo, what: str) -> None:
    """Raise `TokensError` unless all codes lie in the stream's range."""
    if codes.shape[-1] and not (int(codes.min()) >= 0 and int(codes.max()) < stream.codebook_size):
        raise TokensError(
            f"{what} of stream '{stream.name}' must be codes in [0, {stream.codebook_size}), got "
            f"{int(codes.min())} to {int(codes.max())}."
        )
