"""The token type: one immutable batch of discrete speech, and what describes it.

Conventions: tensors are batch-first; codes are `(batch, codebooks, frames)`, int64, coarse
codebooks first, in [0, `codebook_size`), padded with 0 past `num_frames`. A stream is a named group
of codebooks that share a frame rate.

Contents: `StreamInfo`, `TokenizerInfo`, `SpeechTokens`, `RunLengthTokens`.

This module names torch for type checkers and imports it only when tensors are really touched, so
that cards, schemas and job plans start without it.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from numbers import Integral
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, overload

from speechtok.errors import TokensError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

MAX_NAME = 128
"""Characters of the name of a tokenizer or a stream."""
MAX_CODEBOOKS = 1_024
"""Codebooks of one stream; the most of a published tokenizer are 80."""
MAX_CODEBOOK_SIZE = 1 << 24
"""Codes of one codebook; the most of a published tokenizer are 65,536."""


@dataclass(frozen=True, kw_only=True)
class StreamInfo:
    """What is fixed about one stream of codes."""

    name: str
    """Name of the stream, such as "content"; also its column in a token dataset."""
    num_codebooks: int
    """Codebooks of one frame, coarse first."""
    codebook_size: int
    """Number of different codes, the same for every codebook of the stream."""
    frame_rate: float
    """Frames per second, exact: `sample_rate / hop_length`."""
    hop_length: int
    """Samples from one frame to the next, at the tokenizer's rate."""

    def __post_init__(self) -> None:
        _check_name("stream", self.name)
        for name in ("num_codebooks", "codebook_size", "hop_length"):
            value = getattr(self, name)
            if not _is_count(value):
                raise ValueError(f"`{name}` of stream '{self.name}' must be at least 1, got {value!r}.")
        if self.num_codebooks > MAX_CODEBOOKS:
            raise ValueError(
                f"`num_codebooks` of stream '{self.name}' must be at most {MAX_CODEBOOKS}, got {self.num_codebooks}."
            )
        if self.codebook_size > MAX_CODEBOOK_SIZE:
            raise ValueError(
                f"`codebook_size` of stream '{self.name}' must be at most {MAX_CODEBOOK_SIZE}, got {self.codebook_size}."
            )

    @property
    def bitrate_bps(self) -> float:
        """Bits per second of the raw codes: `frame_rate * num_codebooks * log2(codebook_size)`."""
        return self.frame_rate * self.num_codebooks * math.log2(self.codebook_size)


@dataclass(frozen=True, kw_only=True)
class TokenizerInfo:
    """What tokens must carry so that anybody can tell which tokenizer made them."""

    name: str
    """Name of the card, such as "dmel_16k"."""
    fingerprint: str
    """Hash of everything that decides what a code means: method, settings and weights."""
    sample_rate: int
    """Rate of the audio the tokenizer reads and writes, in Hz."""
    streams: tuple[StreamInfo, ...]
    """The streams, in their order."""
    speaker_embedding_dim: int | None = None
    """Channels of `speaker_embedding`, or None for families without one."""
    has_scale: bool = False
    """Whether the family removes the level of the audio and stores it as `scale`."""

    def __post_init__(self) -> None:
        _check_name("tokenizer", self.name)
        if not _is_count(self.sample_rate):
            raise ValueError(f"`sample_rate` of '{self.name}' must be at least 1, got {self.sample_rate!r}.")
        if not re.fullmatch(r"[\w.-]*", str(self.fingerprint)):
            raise ValueError(
                f"`fingerprint` of '{self.name}' must be letters and digits, got {self.fingerprint!r}."
            )
        names = [stream.name for stream in self.streams]
        if len(set(names)) < len(names):
            raise ValueError(
                f"The streams of '{self.name}' must have different names, got {', '.join(names)}."
            )
        for stream in self.streams:
            if not math.isclose(stream.frame_rate * stream.hop_length, self.sample_rate, rel_tol=1e-12):
                raise ValueError(
                    f"Stream '{stream.name}' of '{self.name}' must have frame_rate × hop_length = sample_rate, "
                    f"got {stream.frame_rate} × {stream.hop_length} ≠ {self.sample_rate}."
                )

    def stream(self, name: str) -> StreamInfo:
        """Return the stream called `name`, or raise `TokensError` naming those there are."""
        for stream in self.streams:
            if stream.name == name:
                return stream
        have = ", ".join(stream.name for stream in self.streams)
        raise TokensError(f"'{self.name}' has no stream '{name}'; it has: {have}.")

    @property
    def bitrate_bps(self) -> float:
        """Bits per second of all streams together."""
        return sum(stream.bitrate_bps for stream in self.streams)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {**asdict(self), "streams": [asdict(stream) for stream in self.streams]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TokenizerInfo:
        """Return the info that `to_dict` described."""
        streams = tuple(StreamInfo(**stream) for stream in values["streams"])
        return cls(**{**values, "streams": streams})


def _is_count(value: Any) -> bool:
    return isinstance(value, Integral) and int(value) >= 1


def _check_name(what: str, name: object) -> None:
    """Raise `ValueError` for a name that could not stand in a column, a file's name or a page as it is."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name) or len(name) > MAX_NAME:
        raise ValueError(
            f"A {what}'s name must be letters, digits, '_', '.' and '-', at most {MAX_NAME}, got {name!r}."
        )


def with_codebooks(info: TokenizerInfo, num_codebooks: int | None) -> TokenizerInfo:
    """Return the info of tokens of which only the first codebooks are kept; None keeps all."""
    return replace(info, streams=first_codebooks(info.streams, num_codebooks))


def first_codebooks(streams: Iterable[StreamInfo], num_codebooks: int | None) -> tuple[StreamInfo, ...]:
    """Return streams of which only the first codebooks are kept; None keeps all."""
    if num_codebooks is None:
        return tuple(streams)
    return tuple(replace(item, num_codebooks=min(num_codebooks, item.num_codebooks)) for item in streams)


@dataclass(frozen=True, kw_only=True, eq=False)
class SpeechTokens:
    """One batch of speech tokens. Immutable: every method returns a new batch.

    Raises:
        TokensError: when the fields do not fit together.
    """

    streams: Mapping[str, Tensor]
    """Stream name → `(batch, codebooks, frames)`, int64, raw codes in [0, `codebook_size`)."""
    num_frames: Mapping[str, Tensor]
    """Stream name → `(batch,)`, int64, valid frames."""
    num_samples: Tensor
    """`(batch,)`, int64, valid samples of the audio at the tokenizer's rate."""
    info: TokenizerInfo
    """The tokenizer that made the tokens; its streams are those of `streams`, with the codebooks kept."""
    speaker_embedding: Tensor | None = field(default=None)
    """`(batch, channels)`, float, or None for families without a speaker vector."""
    scale: Tensor | None = field(default=None)
    """`(batch,)`, float, the level removed before encoding, or None."""

    def __post_init__(self) -> None:
        for name in ("streams", "num_frames"):
            if not isinstance(getattr(self, name), Mapping):
                raise TokensError(
                    f"`{name}` must be a mapping of stream names, got {type(getattr(self, name)).__name__}."
                )
        object.__setattr__(self, "streams", MappingProxyType(dict(self.streams)))
        object.__setattr__(self, "num_frames", MappingProxyType(dict(self.num_frames)))
        _check(self)
        kept = (replace(item, num_codebooks=self.streams[item.name].shape[1]) for item in self.info.streams)
        object.__setattr__(self, "info", replace(self.info, streams=tuple(kept)))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (SpeechTokens, _plain_fields(self))

    def __len__(self) -> int:
        """Return the number of utterances."""
        return self.num_samples.shape[0]

    @overload
    def __getitem__(self, key: str) -> Tensor: ...
    @overload
    def __getitem__(self, key: int | slice) -> SpeechTokens: ...
    def __getitem__(self, key: str | int | slice) -> Tensor | SpeechTokens:
        """Return one stream's codes by name, or some of the utterances without needless padding."""
        if isinstance(key, str):
            if key not in self.streams:
                raise KeyError(f"no stream '{key}'; these tokens have: {', '.join(self.streams)}")
            return self.streams[key]
        if not isinstance(key, slice):
            key = operator.index(key)
            if not -len(self) <= key < len(self):
                raise IndexError(f"utterance {key} is out of range for {len(self)} utterances")
            key = slice(key, key + 1 or None)
        num_frames = {name: frames[key] for name, frames in self.num_frames.items()}
        longest = {name: _longest(frames) for name, frames in num_frames.items()}
        return replace(
            self,
            streams={name: codes[key, :, : longest[name]] for name, codes in self.streams.items()},
            num_frames=num_frames,
            num_samples=self.num_samples[key],
            speaker_embedding=None if self.speaker_embedding is None else self.speaker_embedding[key],
            scale=None if self.scale is None else self.scale[key],
        )

    def __iter__(self) -> Iterator[SpeechTokens]:
        """Yield the utterances one by one, each as a batch of one."""
        return (self[index] for index in range(len(self)))

    @property
    def codes(self) -> Tensor:
        """`(batch, codebooks, frames)`, int64: all streams stacked along codebooks, in order.

        Raises:
            TokensError: when streams differ in frame rate; take them one by one then.
        """
        import torch

        rates = {name: self.info.stream(name).frame_rate for name in self.streams}
        if len(set(rates.values())) > 1:
            listed = ", ".join(f"{name} {rate:g} Hz" for name, rate in rates.items())
            raise TokensError(
                f"`codes` needs streams of one frame rate, but '{self.info.name}' has {listed}. "
                'Take one stream, as in tokens["content"].'
            )
        return torch.cat(list(self.streams.values()), dim=1)

    @property
    def audio_codes(self) -> Tensor:
        """`codes`, under the name Hugging Face models use."""
        return self.codes

    def to(self, device: torch.device | str) -> SpeechTokens:
        """Return the tokens on `device`."""
        return self._map(lambda tensor: tensor.to(device))

    def select(self, *names: str) -> SpeechTokens:
        """Return only the named streams, in the order given."""
        kept = tuple(self.info.stream(name) for name in names)
        return replace(
            self,
            streams={name: self.streams[name] for name in names},
            num_frames={name: self.num_frames[name] for name in names},
            info=replace(self.info, streams=kept),
        )

    def slice_seconds(self, start: float, stop: float) -> SpeechTokens:
        """Return the part of every utterance between two times, for prompts.

        Both times are rounded down to a whole frame of the slowest stream, so that the streams stay
        aligned; a `stop` at or past the end of an utterance keeps its end exactly.

        Args:
            start: seconds from the beginning, at least 0.
            stop: seconds from the beginning, more than `start`; infinity means to the end.

        Raises:
            TokensError: when nothing of some utterance lies between the two times, or a stream's frames are not
                evenly spaced in time, as where a tokenizer codes overlapping segments.
        """
        if not 0 <= start < stop:
            raise ValueError(f"`start` and `stop` must satisfy 0 <= start < stop, got {start} and {stop}.")
        grid = math.lcm(*(stream.hop_length for stream in self.info.streams))
        for name, frames in self.num_frames.items():
            hop = self.info.stream(name).hop_length
            if bool((frames > self.num_samples // hop + grid // hop + 1).any()):
                raise TokensError(
                    f"Stream '{name}' has more frames than its audio at {self.info.stream(name).frame_rate:g} Hz, as "
                    "where overlapping segments are coded; such tokens cannot be cut by time."
                )
        end = (_longest(self.num_samples) + grid) / self.info.sample_rate + 1
        begin, stop = min(start, end), min(stop, 2 * end)
        # A small tolerance keeps 0.3 s × 50 Hz at frame 15 although 0.3 is not exact in binary.
        first = math.floor(begin * self.info.sample_rate / grid + 1e-6) * grid
        last = math.floor(stop * self.info.sample_rate / grid + 1e-6) * grid
        # An utterance that ends at or before `stop` keeps its last, possibly partial, frame.
        past_end = self.num_samples <= math.floor(stop * self.info.sample_rate + 1e-6)
        num_samples = self.num_samples.clamp(max=last).where(~past_end, self.num_samples) - first
        if bool((num_samples <= 0).any()):
            index = int((num_samples <= 0).nonzero()[0])
            seconds = int(self.num_samples[index]) / self.info.sample_rate
            raise TokensError(
                f"Utterance {index} has no frame between {start:g} s and {stop:g} s; it is {seconds:g} s long "
                f"and frames are {grid / self.info.sample_rate:g} s apart."
            )
        streams, num_frames = {}, {}
        for name, codes in self.streams.items():
            hop = self.info.stream(name).hop_length
            frames = self.num_frames[name].clamp(max=last // hop).where(~past_end, self.num_frames[name])
            num_frames[name] = (frames - first // hop).clamp(min=0)
            streams[name] = _zero_padding(codes[:, :, first // hop :], num_frames[name])
        return replace(self, streams=streams, num_frames=num_frames, num_samples=num_samples)

    @staticmethod
    def cat(batches: Sequence[SpeechTokens]) -> SpeechTokens:
        """Join batches of one tokenizer along the batch axis, padding to the longest.

        Raises:
            TokensError: when the batches differ in tokenizer, streams or codebooks.
            TypeError: when something else than tokens is among them.
        """
        import torch

        if not batches:
            raise ValueError("`batches` must hold at least one batch.")
        for other in batches:
            if not isinstance(other, SpeechTokens):
                raise TypeError(f"`batches` must hold `SpeechTokens`, got {type(other).__name__}.")
        head = batches[0]
        for other in batches[1:]:
            if (other.info.name, other.info.fingerprint) != (head.info.name, head.info.fingerprint):
                raise TokensError(
                    f"Only tokens of one tokenizer can be joined, got '{head.info.name}' ({head.info.fingerprint}) "
                    f"and '{other.info.name}' ({other.info.fingerprint})."
                )
            if other.info != head.info:
                raise TokensError(
                    "Only tokens of the same streams with the same number of codebooks per stream can be joined."
                )
        streams = {}
        for name in head.streams:
            longest = max(batch.streams[name].shape[2] for batch in batches)
            streams[name] = torch.cat(
                [
                    torch.nn.functional.pad(batch.streams[name], (0, longest - batch.streams[name].shape[2]))
                    for batch in batches
                ]
            )
        embeddings = [batch.speaker_embedding for batch in batches if batch.speaker_embedding is not None]
        scales = [batch.scale for batch in batches if batch.scale is not None]
        if len(embeddings) not in (0, len(batches)) or len(scales) not in (0, len(batches)):
            raise TokensError(
                "Some batches carry a speaker embedding or scale and others do not; they cannot be joined."
            )
        return replace(
            head,
            streams=streams,
            num_frames={name: torch.cat([batch.num_frames[name] for batch in batches]) for name in streams},
            num_samples=torch.cat([batch.num_samples for batch in batches]),
            speaker_embedding=torch.cat(embeddings) if embeddings else None,
            scale=torch.cat(scales) if scales else None,
        )

    @staticmethod
    def join(pieces: Sequence[SpeechTokens]) -> SpeechTokens:
        """Join consecutive pieces of one utterance, as `tokenizer.stream()` gives them; a speaker vector is the last one's.

        Raises:
            TokensError: when a piece holds no single utterance, or they differ in tokenizer, streams or codebooks.
        """
        import torch

        if not pieces:
            raise ValueError("`pieces` must hold at least one piece.")
        last = pieces[-1]
        for piece in pieces:
            if len(piece) != 1 or piece.info != last.info:
                raise TokensError(
                    "Only pieces of one utterance with the same tokenizer, streams and codebooks can be joined."
                )
        streams = {
            name: torch.cat(
                [piece.streams[name][:, :, : int(piece.num_frames[name])] for piece in pieces], dim=2
            )
            for name in last.streams
        }
        return replace(
            last,
            streams=streams,
            num_frames={
                name: torch.stack([piece.num_frames[name] for piece in pieces]).sum(0) for name in streams
            },
            num_samples=torch.stack([piece.num_samples for piece in pieces]).sum(0),
        )

    def deduplicated(self) -> RunLengthTokens:
        """Return every stream as runs of equal frames with their durations, as unit models use them.

        A frame equals its neighbour when all its codebooks do. `expanded()` of the result gives these
        tokens back. Source: Lakhotia et al. 2021, GSLM, arXiv:2102.01192, section 3.
        """
        import torch

        runs, durations, num_runs = {}, {}, {}
        for name, codes in self.streams.items():
            rows = [
                run_lengths(item[:, :valid])
                for item, valid in zip(codes, self.num_frames[name].tolist(), strict=True)
            ]
            count = torch.tensor(
                [lengths.shape[0] for _, lengths in rows], dtype=torch.int64, device=codes.device
            )
            longest = _longest(count)
            pad = torch.nn.functional.pad
            empty = codes[:, :, :0]
            runs[name] = torch.stack([pad(c, (0, longest - c.shape[1])) for c, _ in rows]) if rows else empty
            durations[name] = (
                torch.stack([pad(d, (0, longest - d.shape[0])) for _, d in rows]) if rows else empty[:, 0]
            )
            num_runs[name] = count
        return RunLengthTokens(
            streams=runs,
            durations=durations,
            num_runs=num_runs,
            tokens=replace(
                self,
                streams={name: codes[:, :, :0] for name, codes in self.streams.items()},
                num_frames={name: torch.zeros_like(frames) for name, frames in self.num_frames.items()},
            ),
        )

    def equals(self, other: SpeechTokens) -> bool:
        """Return whether both hold the same valid codes, lengths, vectors and tokenizer."""
        if self.info != other.info or len(self) != len(other) or list(self.streams) != list(other.streams):
            return False
        pairs = [(self.num_samples, other.num_samples), *_valid_pairs(self, other)]
        optional = [(self.speaker_embedding, other.speaker_embedding), (self.scale, other.scale)]
        if any((mine is None) != (theirs is None) for mine, theirs in optional):
            return False
        pairs += [(mine, theirs) for mine, theirs in optional if mine is not None and theirs is not None]
        return all(mine.shape == theirs.shape and bool((mine == theirs).all()) for mine, theirs in pairs)

    def _map(self, change: Any) -> SpeechTokens:
        return replace(
            self,
            streams={name: change(codes) for name, codes in self.streams.items()},
            num_frames={name: change(frames) for name, frames in self.num_frames.items()},
            num_samples=change(self.num_samples),
            speaker_embedding=None if self.speaker_embedding is None else change(self.speaker_embedding),
            scale=None if self.scale is None else change(self.scale),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class RunLengthTokens:
    """Tokens with runs of equal frames merged; made by `SpeechTokens.deduplicated`."""

    streams: Mapping[str, Tensor]
    """Stream name → `(batch, codebooks, runs)`, int64, padded with 0 past `num_runs`."""
    durations: Mapping[str, Tensor]
    """Stream name → `(batch, runs)`, int64, frames of each run, 0 past `num_runs`."""
    num_runs: Mapping[str, Tensor]
    """Stream name → `(batch,)`, int64, valid runs."""
    tokens: SpeechTokens
    """Everything else the tokens carried, with streams of no frames."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (RunLengthTokens, _plain_fields(self))

    def __post_init__(self) -> None:
        for name in ("streams", "durations", "num_runs"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def expanded(self) -> SpeechTokens:
        """Return the tokens as they were before merging."""
        import torch

        streams, num_frames = {}, {}
        for name, runs in self.streams.items():
            rows = [
                item.repeat_interleave(lengths, dim=1)
                for item, lengths in zip(runs, self.durations[name], strict=True)
            ]
            num_frames[name] = self.durations[name].sum(dim=1)
            longest = _longest(num_frames[name])
            padded = [torch.nn.functional.pad(row, (0, longest - row.shape[1])) for row in rows]
            streams[name] = torch.stack(padded) if rows else runs
        return replace(self.tokens, streams=streams, num_frames=num_frames)


def _check(tokens: SpeechTokens) -> None:
    import torch

    if not isinstance(tokens.info, TokenizerInfo):
        raise TokensError(f"`info` must be a TokenizerInfo, got {type(tokens.info).__name__}.")
    names = [stream.name for stream in tokens.info.streams]
    if list(tokens.streams) != names or list(tokens.num_frames) != names:
        raise TokensError(
            f"`streams` and `num_frames` must hold {names} in this order, as '{tokens.info.name}' has them, "
            f"got {list(tokens.streams)} and {list(tokens.num_frames)}."
        )
    optional = {"speaker_embedding": (tokens.speaker_embedding, 2), "scale": (tokens.scale, 1)}  # and axes
    tensors = {"num_samples": tokens.num_samples}
    tensors |= {f"streams['{name}']": codes for name, codes in tokens.streams.items()}
    tensors |= {f"num_frames['{name}']": frames for name, frames in tokens.num_frames.items()}
    tensors |= {name: value for name, (value, _) in optional.items() if value is not None}
    for name, value in tensors.items():
        if not isinstance(value, torch.Tensor):
            raise TokensError(f"`{name}` must be a tensor of torch, got {type(value).__name__}.")
    if tokens.num_samples.ndim != 1 or tokens.num_samples.dtype != torch.int64:
        raise TokensError(
            f"`num_samples` must be (batch,), int64, got {tuple(tokens.num_samples.shape)}, {tokens.num_samples.dtype}."
        )
    if bool((tokens.num_samples < 0).any()):
        raise TokensError(f"`num_samples` must be at least 0, got {int(tokens.num_samples.min())}.")
    batch = tokens.num_samples.shape[0]
    for name, codes in tokens.streams.items():
        stream, frames = tokens.info.stream(name), tokens.num_frames[name]
        if codes.ndim != 3 or codes.shape[0] != batch or not 1 <= codes.shape[1] <= stream.num_codebooks:
            raise TokensError(
                f"Codes of stream '{name}' must have shape (batch={batch}, codebooks<={stream.num_codebooks}, frames), "
                f"got {tuple(codes.shape)}."
            )
        if codes.dtype != torch.int64 or frames.dtype != torch.int64:
            raise TokensError(
                f"Codes and num_frames of stream '{name}' must be int64, got {codes.dtype} and {frames.dtype}."
            )
        in_range = tuple(frames.shape) == (batch,) and bool(
            ((frames >= 0) & (frames <= codes.shape[2])).all()
        )
        if not in_range:
            raise TokensError(
                f"`num_frames` of stream '{name}' must be ({batch},) values from 0 to {codes.shape[2]} frames."
            )
    for name, (held, axes) in optional.items():
        if held is not None and (held.ndim != axes or held.shape[0] != batch):
            raise TokensError(
                f"`{name}` must have one row per utterance ({batch}), got shape {tuple(held.shape)}."
            )


def _zero_padding(codes: Tensor, num_frames: Tensor) -> Tensor:
    """Return `(batch, codebooks, longest)` codes with zeros past `num_frames` `(batch,)`."""
    import torch

    codes = codes[:, :, : _longest(num_frames)]
    valid = torch.arange(codes.shape[2], device=codes.device) < num_frames[:, None]
    return codes * valid[:, None]


def _longest(lengths: Tensor) -> int:
    """Return the largest of `(batch,)` lengths, 0 for an empty batch."""
    return int(lengths.max()) if len(lengths) else 0


def _plain_fields(record: SpeechTokens | RunLengthTokens) -> dict[str, Any]:
    """Return the fields with ordinary dictionaries: read-only views cannot be pickled or copied."""
    values = {item.name: getattr(record, item.name) for item in fields(record)}
    return {
        name: dict(value) if isinstance(value, MappingProxyType) else value for name, value in values.items()
    }


def _rebuild(kind: type[Any], values: dict[str, Any]) -> Any:
    return kind(**values)


def run_lengths(codes: Any) -> tuple[Any, Any]:
    """Return the runs `(codebooks, runs)` of `(codebooks, frames)` codes, and their lengths `(runs,)`.

    Takes a numpy array or a torch tensor and returns the like.
    """
    from array_api_compat import array_namespace

    xp = array_namespace(codes)
    starts = xp.any(codes[:, 1:] != codes[:, :-1], axis=0)
    first = xp.ones_like(codes[0, :1], dtype=xp.bool)  # (1,), or (0,) without frames
    (at,) = xp.nonzero(xp.concat([first, starts[: codes.shape[1]]]))
    ends = xp.concat([at[1:], xp.ones_like(at[:1]) * codes.shape[1]])
    return codes[:, at], ends - at


def _valid_pairs(mine: SpeechTokens, theirs: SpeechTokens) -> list[tuple[Tensor, Tensor]]:
    pairs = []
    for name in mine.streams:
        pairs.append((mine.num_frames[name], theirs.num_frames[name]))
        for index in range(len(mine)):
            a, b = int(mine.num_frames[name][index]), int(theirs.num_frames[name][index])
            pairs.append((mine.streams[name][index, :, :a], theirs.streams[name][index, :, :b]))
    return pairs
