"""The interface all tokenizer families share.

Conventions: `waveform` is `(batch, samples)`, float in [-1, 1]; `num_samples` is `(batch,)`, int64;
codes are `(batch, codebooks, frames)`. A family implements `__init__` with the arguments of `from_card`,
`num_frames`, `_encode`, `_decode`; when it has weights `_networks`, `_state_dict` and `_rebuild`, when its codes have a finite
context `_coder`, when it has latents `_analyse` and `_synthesise`; everything else is here. A pickled tokenizer holds the networks that
it has loaded, and needs no file for what they do.

Whatever computes codes, waveforms or latents does so without gradients and at full precision: `torch.autocast`
and reduced precision of float32, which change codes, are switched off until it returns, and `torch.compile` of a program
around it leaves it as it is.
"""

from __future__ import annotations

import functools
import reprlib
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

import speechtok.nets.threads  # noqa: F401 - for children of `fork`, which compute in one thread
from speechtok.audio.io import probe_audio, read_blocks
from speechtok.cards import TokenizerCard
from speechtok.cards.readme import tokenizer_readme
from speechtok.errors import AudioError, CardError, TokensError
from speechtok.hub import Pushed, push_files
from speechtok.limits import RECORDING_SECONDS, WAVEFORM_SAMPLES
from speechtok.nets.compiling import uncompiled
from speechtok.nets.devices import usable_device, usable_dtype
from speechtok.nets.precision import exact, full_precision
from speechtok.nets.weight_norm import fold
from speechtok.tokenizers.bystander import Bystander
from speechtok.tokenizers.latents import Latents
from speechtok.tokenizers.ragged import padded, stack_speech
from speechtok.tokenizers.streaming import Coder, TokenStream
from speechtok.tokenizers.waveforms import WaveformBatch, other_rate, to_batch
from speechtok.tokenizers.writing import WEIGHTS_FILE as WEIGHTS_FILE
from speechtok.tokenizers.writing import write_tokenizer
from speechtok.tokens import SpeechTokens, StreamInfo, TokenizerInfo

BLOCK_SECONDS = 4.0
"""Audio that `encode_blocks` processes at once unless `chunk_seconds` says otherwise."""
_EXACT = ("encode", "encode_blocks", "stream", "decode", "embed", "convert_voice", "predict_durations")
"""Methods that compute at full precision, here and in every family."""


class SpeechTokenizer(Bystander, ABC):
    """Speech to tokens and back.

    A module that moves with a model, but is no part of what the model trains, saves or casts, see `Bystander`; called, it
    encodes.

    Args:
        card: what was released.
        fingerprint: hash of method, settings and weights, see `speechtok.tokenizers.fingerprint`.
        streams: the streams the built network really has; compared with the card.
        device: where tensors live.
        dtype: float type of all computation.

    Raises:
        CardError: when the card states other streams than the network has.
    """

    min_samples: ClassVar[int] = 1
    """Fewest samples, at the tokenizer's rate, that give tokens."""
    conversion_methods: ClassVar[tuple[str, ...]] = ()
    """What `convert_voice` takes as `method`, where a family has more than one; the first is the default."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        _compute_exactly(cls)

    def __init__(
        self,
        card: TokenizerCard,
        *,
        fingerprint: str,
        streams: tuple[StreamInfo, ...],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if card.streams != streams:
            raise CardError(
                f"Card '{card.name}' states the streams {card.streams}, but its network has {streams}."
            )
        self.card = card
        self.info: TokenizerInfo = card.info(fingerprint)
        self.device = torch.device(device)
        self.dtype = dtype

    @classmethod
    def from_card(
        cls, card: TokenizerCard, files: Mapping[str, Path], *, device: torch.device | str, dtype: torch.dtype
    ) -> Self:
        """Build the tokenizer a card describes: the family's class, called with these arguments.

        Args:
            card: what was released.
            files: local path of each of the card's files, by the path the card gives it.
            device: where tensors live.
            dtype: float type of all computation.
        """
        build: Callable[..., Self] = cls
        return build(card, files, device=device, dtype=dtype)

    @classmethod
    def find_files(cls, card: TokenizerCard, folder: Path) -> dict[str, Path] | None:
        """Return the files of a local checkpoint folder, for families whose parts are optional.

        Args:
            card: what was released.
            folder: where the published files lie.

        Returns:
            Path inside the folder → local path; None when the card's list of files decides.
        """
        return None

    @staticmethod
    def from_pretrained(name: str | Path, **options: Any) -> SpeechTokenizer:
        """Return a tokenizer by name: `speechtok.load_tokenizer` under the name Hugging Face users expect."""
        from speechtok import load_tokenizer

        return load_tokenizer(name, **options)

    @property
    def name(self) -> str:
        """Name of the card."""
        return self.info.name

    @property
    def sample_rate(self) -> int:
        """Rate of the audio, in Hz."""
        return self.info.sample_rate

    @property
    def output_sample_rate(self) -> int:
        """Rate of decoded audio, in Hz; that of the audio unless a family says otherwise."""
        return self.sample_rate

    @property
    def streams(self) -> tuple[StreamInfo, ...]:
        """The streams of codes, in order."""
        return self.info.streams

    @property
    def fingerprint(self) -> str:
        """Hash of everything that decides what a code means."""
        return self.info.fingerprint

    @property
    def speaker_embedding_dim(self) -> int | None:
        """Channels of the speaker vector, or None for families without one."""
        return self.info.speaker_embedding_dim

    @property
    def can_decode(self) -> bool:
        """Whether stored tokens alone can be decoded; only parts of a composition can be missing."""
        return True

    @property
    def can_embed(self) -> bool:
        """Whether there is `embed`."""
        return type(self).embed is not SpeechTokenizer.embed

    @property
    def has_latents(self) -> bool:
        """Whether there are `encode_latents` and `decode_latents`."""
        return type(self)._synthesise is not SpeechTokenizer._synthesise

    @property
    def can_convert_voice(self) -> bool:
        """Whether there is `convert_voice`."""
        return type(self).convert_voice is not SpeechTokenizer.convert_voice

    @property
    def can_stream(self) -> bool:
        """Whether there is `stream`: whether codes depend on no more than the past and a finite stretch ahead."""
        return self._coder() is not None

    @property
    def voices(self) -> tuple[str, ...]:
        """Names that `decode(tokens, speaker=)` takes, for decoders with a table of named voices."""
        return ()

    @property
    def num_voices(self) -> int:
        """Rows of the decoder's table of voices, with and without a name; 0 without a table."""
        return 0

    def output_samples(self, num_samples: int) -> int:
        """Return the samples, at `output_sample_rate`, that tokens of so many samples are decoded to."""
        return num_samples * self.output_sample_rate // self.sample_rate

    @abstractmethod
    def num_frames(self, num_samples: int, stream: str) -> int:
        """Return the frames of `stream` that `num_samples` samples give."""

    def num_samples(self, num_frames: int, stream: str | None = None) -> int:
        """Return the most samples that give `num_frames` frames of `stream`, the first one unless told otherwise.

        They are found by bisection of `num_frames`; fewer where no length gives so many.
        """
        stream = self.streams[0].name if stream is None else stream
        low, high = 0, (num_frames + 2) * self.info.stream(stream).hop_length + self.min_samples
        while low < high:  # frames never fall as samples grow
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.num_frames(middle, stream) <= num_frames else (low, middle - 1)
        return low

    def encode(
        self,
        waveform: Any,
        num_samples: Any = None,
        *,
        sample_rate: int | None = None,
        resample: bool = False,
        num_codebooks: int | None = None,
        chunk_seconds: float | None = None,
        **options: Any,
    ) -> SpeechTokens:
        """Return the tokens of one or more utterances.

        Codes of an utterance do not depend on what else is in the batch, nor on the padding.

        Args:
            waveform: float tensor or array `(samples,)` or `(batch, samples)` in [-1, 1]; int16 is
                scaled by 1/32768; a list of 1-D ones of unequal length; a Hugging Face audio
                dictionary, or the decoder or samples of torchcodec in its place; a path; or a list of such.
                Float samples far beyond 1 give a warning.
            num_samples: `(batch,)` valid samples of a padded `(batch, samples)` waveform.
            sample_rate: rate of `waveform` in Hz, when it is not the tokenizer's.
            resample: whether audio at another rate is converted; otherwise it raises.
            num_codebooks: keep only the first codebooks (bit-rate choice).
            chunk_seconds: process long audio in pieces of this length, with the same codes; a path is
                then also read in such pieces.
            options: options of the family, such as `bandwidth`.

        Returns:
            Tokens on the tokenizer's device.

        Raises:
            AudioError: for stereo, NaN, empty or too short audio, or another rate without `resample`.
            TypeError: for what is not audio, or an option the family does not have.
            ValueError: when `num_samples`, `num_codebooks` or `chunk_seconds` is out of range.
        """
        if num_codebooks is not None:
            options["num_codebooks"] = num_codebooks
        if chunk_seconds is not None and isinstance(waveform, str | PathLike):
            blocks = self._read_blocks(waveform, chunk_seconds, resample)
            return self.encode_blocks(blocks, chunk_seconds=chunk_seconds, **options)
        batch = self.batch(waveform, num_samples, sample_rate=sample_rate, resample=resample)
        self._check_length(batch.num_samples)
        return self._encode(batch.waveform, batch.num_samples, chunk_seconds=chunk_seconds, **options)

    def encode_blocks(
        self,
        blocks: Iterable[np.ndarray[Any, Any]],
        *,
        chunk_seconds: float | None = None,
        num_codebooks: int | None = None,
        **options: Any,
    ) -> SpeechTokens:
        """Return the tokens of one utterance that arrives in blocks, for audio too long to hold.

        The codes are those of `encode` on the whole. Where there is a `stream`, memory does not grow with length but
        for the codes themselves.

        Args:
            blocks: consecutive float `(samples,)` pieces at the tokenizer's rate, of any length.
            chunk_seconds: length of the pieces that are processed at once.
            num_codebooks: keep only the first codebooks.
            options: options of the family.

        Raises:
            AudioError: when the blocks hold too few samples, or more than is held of one by a family that needs the whole
                utterance.
            ValueError: when `num_codebooks` or `chunk_seconds` is out of range.
        """
        coder = self._coder(chunk_seconds or BLOCK_SECONDS, num_codebooks, **options)
        if coder is None:
            waveform = self._whole(blocks)
            return self.encode(waveform, chunk_seconds=chunk_seconds, num_codebooks=num_codebooks, **options)
        stream = TokenStream(self, coder)
        kept: dict[str, list[Tensor]] = {item.name: [] for item in self.streams}
        for block in blocks:
            _keep(kept, stream.feed(block))
        last = stream.finish()
        _keep(kept, last)
        codes = {name: torch.cat(parts, dim=2).long() for name, parts in kept.items()}
        frames = {name: torch.tensor([found.shape[2]], device=self.device) for name, found in codes.items()}
        samples = torch.tensor([stream.num_samples], device=self.device)
        return replace(last, streams=codes, num_frames=frames, num_samples=samples)

    def stream(
        self, *, chunk_seconds: float | None = None, num_codebooks: int | None = None, **options: Any
    ) -> TokenStream:
        """Return what takes one utterance in blocks of any length and gives its tokens as soon as they are final.

        The tokens are those of `encode` on the whole utterance; memory does not grow with its length.

        Args:
            chunk_seconds: audio that is processed at once, which takes less work than each frame on its own; None gives
                tokens as soon as they are final.
            num_codebooks: keep only the first codebooks.
            options: options of the family.

        Raises:
            TypeError: when codes of the tokenizer depend on the whole utterance.
            ValueError: when `num_codebooks` or `chunk_seconds` is out of range.
        """
        coder = self._coder(chunk_seconds, num_codebooks, **options)
        if coder is None:
            raise TypeError(
                f"'{self.name}' has no stream: its codes depend on the whole utterance. Cut long audio into utterances."
            )
        return TokenStream(self, coder)

    def decode(self, tokens: SpeechTokens, *, accept_from: str | None = None, **options: Any) -> Tensor:
        """Return the speech the tokens stand for.

        Args:
            tokens: made by this tokenizer, fresh or stored.
            accept_from: name or fingerprint of another tokenizer whose tokens are accepted anyway.
            options: options of the family, such as `use_residual`.

        Returns:
            `(batch, samples)` at `output_sample_rate`, float, zero past `output_samples(tokens.num_samples[i])`, which is
            `tokens.num_samples[i]` where speech comes back at the rate it went in.

        Raises:
            TokensError: when the tokens were made by another tokenizer or hold codes out of range.
        """
        self.check_tokens(tokens, accept_from=accept_from)
        return self._decode(tokens.to(self.device), **options)

    def embed(self, tokens: SpeechTokens, stream: str | None = None) -> Tensor:
        """Return quantized latents, for latent-diffusion models, where the family has them.

        Args:
            tokens: made by this tokenizer.
            stream: one stream alone; None joins those the tokens have.

        Returns:
            `(batch, channels, frames)`, float, zero past `num_frames`.

        Raises:
            TypeError: when the family has no latents.
            TokensError: when the tokens are another tokenizer's or lack the stream.
        """
        raise TypeError(self._lack("latents to embed tokens in"))

    @uncompiled
    def encode_latents(self, waveform: Any, num_samples: Any = None) -> Latents:
        """Return what codes are taken from, differentiable, for models of continuous speech.

        Each utterance is computed whole and as if alone, so memory grows with length. Precision is full, whatever the caller's context.

        Args:
            waveform: see `encode`, at the tokenizer's rate; gradients reach float tensors.
            num_samples: `(batch,)` valid samples of a padded `(batch, samples)` waveform.

        Raises:
            AudioError: for stereo, NaN, empty or too short audio, or another rate.
            TypeError: for what is not audio, or when the family has no latents.
        """
        batch = self.batch(waveform, num_samples)
        self._check_length(batch.num_samples)
        with full_precision(self.device):
            found = [
                self._analyse(row[:length])
                for row, length in zip(batch.waveform, batch.num_samples.tolist(), strict=True)
            ]
        rows, speakers, scales = zip(*found, strict=True)
        return Latents(
            values=padded(rows),
            num_frames=torch.tensor([row.shape[1] for row in rows], device=self.device),
            num_samples=batch.num_samples,
            speaker_embedding=None if speakers[0] is None else torch.stack(speakers),
            scale=None if scales[0] is None else torch.stack(scales),
        )

    @uncompiled
    def decode_latents(
        self,
        latents: Latents | Tensor,
        num_samples: Any = None,
        *,
        speaker_embedding: Tensor | None = None,
        scale: Tensor | None = None,
    ) -> Tensor:
        """Return the speech of latents, differentiable; what `embed` returns is spoken as `decode` speaks its tokens.

        Args:
            latents: from `encode_latents`, or as `embed` returns them: `(batch, channels, frames)`.
            num_samples: `(batch,)` samples of each utterance; None takes those of `Latents`, or all that the frames give.
            speaker_embedding: `(batch, channels)`, for families that speak with a timbre; None takes that of `Latents`.
            scale: `(batch,)`, the level to restore, for families that removed it; None takes that of `Latents`.

        Returns:
            `(batch, samples)` at `output_sample_rate`, float, zero past `output_samples(num_samples[i])`.

        Raises:
            TypeError: when the family does not speak latents.
            ValueError: when there is no timbre where one is needed, or the sizes do not fit each other.
        """
        if isinstance(latents, Latents):
            num_samples = latents.num_samples if num_samples is None else num_samples
            speaker_embedding = latents.speaker_embedding if speaker_embedding is None else speaker_embedding
            scale = latents.scale if scale is None else scale
            latents = latents.values
        if self.speaker_embedding_dim is not None and speaker_embedding is None:
            raise ValueError(f"'{self.name}' speaks with a timbre; pass `speaker_embedding`.")
        finest = max(self.streams, key=lambda stream: stream.frame_rate)
        if num_samples is None:
            num_samples = [latents.shape[2] * finest.hop_length] * len(latents)
        lengths = [int(length) for length in num_samples]
        frames = [min(self.num_frames(length, finest.name), latents.shape[2]) for length in lengths]
        sides = (speaker_embedding, scale)
        if any(len(side) != len(latents) for side in (lengths, *sides) if side is not None):
            raise ValueError(
                f"`num_samples`, `speaker_embedding` and `scale` must be of {len(latents)} utterances, as `latents` are."
            )
        speakers, scales = (
            [None] * len(latents) if side is None else side.to(self.device, self.dtype) for side in sides
        )
        with full_precision(self.device):
            rows = latents.to(self.device, self.dtype)
            found = [
                self._synthesise(row[:, :count], speaker, level)
                for row, count, speaker, level in zip(rows, frames, speakers, scales, strict=True)
            ]
            return stack_speech(found, [self.output_samples(length) for length in lengths])

    def convert_voice(self, tokens: SpeechTokens, speaker: SpeechTokens | Tensor | str) -> Tensor:
        """Return what `tokens` say in the voice of `speaker`, where the family can.

        Args:
            tokens: the source, made by this tokenizer.
            speaker: tokens of the target, a speaker vector `(channels,)` or `(batch, channels)`, or a
                name for families with a table of speakers.

        Returns:
            `(batch, samples)`, float, zero past `tokens.num_samples[i]`.

        Raises:
            TypeError: when the family does not convert voices, or not to such a `speaker`.
            TokensError: when the tokens are another tokenizer's.
        """
        raise TypeError(self._lack("voice conversion"))

    def batch(
        self,
        waveform: Any,
        num_samples: Any = None,
        *,
        sample_rate: int | None = None,
        resample: bool = False,
    ) -> WaveformBatch:
        """Return what `encode` takes as one batch at the tokenizer's rate, on its device and of its dtype."""
        return to_batch(
            waveform,
            num_samples,
            sample_rate=sample_rate,
            resample=resample,
            target_rate=self.sample_rate,
            device=self.device,
            dtype=self.dtype,
        )

    def check_tokens(self, tokens: SpeechTokens, *, accept_from: str | None = None) -> None:
        """Raise `TokensError` unless the tokens are this tokenizer's and every code is in range, `TypeError` for others."""
        if not isinstance(tokens, SpeechTokens):
            raise TypeError(
                f"`tokens` must be SpeechTokens, as `encode` gives them, got {type(tokens).__name__}."
            )
        made_by = tokens.info
        if made_by.fingerprint != self.fingerprint and accept_from not in (made_by.name, made_by.fingerprint):
            raise TokensError(
                f"The tokens were made by '{made_by.name}' with fingerprint {made_by.fingerprint}, but this is "
                f"'{self.name}' with {self.fingerprint}. Load the tokenizer that made them, or pass "
                f"accept_from='{made_by.name}' to decode them anyway."
            )
        for name, codes in tokens.streams.items():
            size = self.info.stream(name).codebook_size
            if codes.numel() and not (int(codes.min()) >= 0 and int(codes.max()) < size):
                raise TokensError(
                    f"Codes of stream '{name}' must lie in [0, {size}), got {int(codes.min())} to {int(codes.max())}."
                )

    def voice_options(self, speaker: str | None, asked: str | int | None = None) -> dict[str, Any]:
        """Return the options of `decode` that choose a voice of the table; none where nothing is to be chosen.

        Args:
            speaker: who speaks, whose voice is taken where the table has one of that name.
            asked: voice that is taken instead, from `find_voice`.
        """
        if asked is not None:
            return {"speaker": asked}
        return {"speaker": speaker} if speaker in self.voices else {}

    def find_voice(self, text: str) -> str | int:
        """Return what `speaker=` takes for a voice of the table, given its name or the number of its row as text.

        Raises:
            ValueError: when there is no such voice.
        """
        if text in self.voices:
            return text
        if text.isascii() and text.isdigit() and len(text) < 19 and int(text) < self.num_voices:
            return int(text)
        if self.num_voices == 0:
            have = "it has no table of voices"
        else:
            names = (
                f"{', '.join(self.voices[:5])}{', …' if len(self.voices) > 5 else ''}; "
                if self.voices
                else ""
            )
            have = f"it has: {names}rows 0 to {self.num_voices - 1}"
        raise ValueError(f"'{self.name}' has no voice {reprlib.repr(text)}; {have}.")

    def check_method(self, method: str) -> None:
        """Raise `ValueError` unless voices are converted by that method."""
        if method not in self.conversion_methods:
            have = (
                f"it has: {', '.join(self.conversion_methods)}"
                if self.conversion_methods
                else "there is no choice"
            )
            raise ValueError(f"'{self.name}' has no conversion method '{method}'; {have}.")

    def check_codebooks(self, num_codebooks: int) -> None:
        """Raise `ValueError` unless some stream has that many codebooks."""
        most = max(stream.num_codebooks for stream in self.streams)
        if not _is(num_codebooks, Integral) or not 1 <= num_codebooks <= most:
            raise ValueError(
                f"`num_codebooks` must be from 1 to {most} for '{self.name}', got {num_codebooks!r}."
            )

    def forward(self, waveform: Any, num_samples: Any = None, **options: Any) -> SpeechTokens:
        """Return the tokens of one or more utterances, as `encode` does."""
        return self.encode(waveform, num_samples, **options)

    def to(  # type: ignore[override]
        self, device: torch.device | str | torch.dtype | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Move the tokenizer and return it; another dtype starts again from the stored weights.

        Raises:
            CheckpointError: when the dtype is another, but the files that the tokenizer was loaded from are gone.
            ValueError: when `device` cannot be used here, or `dtype` is no float type.
        """
        if isinstance(device, torch.dtype):
            device, dtype = None, device
        before = self.dtype
        self.device = self.device if device is None else usable_device(device)
        self.dtype = self.dtype if dtype is None else usable_dtype(dtype)
        if self.dtype != before:
            self._rebuild()
        for network in self._networks():
            fold(network.to(device=self.device))
        return self

    def extra_repr(self) -> str:
        """Return what tells it from others."""
        return f"'{self.name}', fingerprint={self.fingerprint}, device={self.device}, dtype={self.dtype}"

    def save_pretrained(self, folder: str | Path) -> None:
        """Write card, weights (safetensors) and what else the family reads, each file whole or not at all.

        `load_tokenizer(folder)` then gives this tokenizer.

        Raises:
            CheckpointError: when the files that the tokenizer was loaded from are gone.
            OSError: when it cannot be written.
        """
        write_tokenizer(Path(folder), self.card, self._state_dict(), self._texts())

    def push_to_hub(
        self,
        repository: str,
        *,
        private: bool | None = None,
        revision: str | None = None,
        tag: str | None = None,
    ) -> Pushed:
        """Make a Hub repository hold this tokenizer, so that `load_tokenizer(repository)` gives it.

        Sent is what `save_pretrained` writes, with a README. What the Hub has already is not sent again.

        Args:
            repository: user/name; made when there is none.
            private: whether only the owner sees it; None makes a new repository private and leaves an old one alone.
            revision: branch to commit to, made when there is none; None takes the main one.
            tag: name that the commit gets besides.

        Raises:
            HubError: when the repository cannot be written.
        """
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            self.save_pretrained(folder)
            files: dict[str, Path | bytes] = {
                path.relative_to(folder).as_posix(): path
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            }
            readme = tokenizer_readme(self.card, self.fingerprint, repository)
            return push_files(
                repository,
                {**files, "README.md": readme.encode()},
                kind="model",
                private=private,
                revision=revision,
                tag=tag,
                message=f"Tokenizer {self.name}",
            )

    @abstractmethod
    def _encode(
        self,
        waveform: Tensor,
        num_samples: Tensor,
        *,
        chunk_seconds: float | None = None,
        num_codebooks: int | None = None,
    ) -> SpeechTokens:
        """Encode a checked batch; families may add options of their own."""

    @abstractmethod
    def _decode(self, tokens: SpeechTokens) -> Tensor:
        """Decode checked tokens on the tokenizer's device; families add their own options."""

    def _analyse(self, waveform: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return the latent `(channels, frames)` of one utterance `(samples,)`, its speaker vector and its level."""
        raise TypeError(self._lack("latents"))

    def _synthesise(self, latent: Tensor, speaker: Tensor | None, scale: Tensor | None) -> Tensor:
        """Return the waveform `(samples,)` of a latent `(channels, frames)`, with a speaker vector and a level `()`."""
        raise TypeError(self._lack("speech from latents"))

    def _coder(self, *arguments: Any, **options: Any) -> Coder | None:
        """Return what codes one utterance in blocks, or None where codes depend on the whole.

        Families with a finite context override it with `(chunk_seconds=None, num_codebooks=None)` and options of their
        own: audio to process at once, None for as soon as a frame is final, and the codebooks to keep.
        """
        return None

    def _whole(self, blocks: Iterable[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
        """Return consecutive `(samples,)` blocks as one waveform, of as many samples as may be held of one."""
        held, samples = [], 0
        for block in blocks:
            held.append(block)
            samples += len(block)
            if samples > WAVEFORM_SAMPLES:
                hours = WAVEFORM_SAMPLES / self.sample_rate / 3600
                raise AudioError(
                    f"The recording is longer than {hours:.1f} hours, the most that is held of one, but '{self.name}' needs "
                    "all of an utterance; cut it into utterances first, as `--segment silence` does."
                )
        return np.concatenate(held) if held else np.zeros(0, np.float32)

    def _read_blocks(
        self, path: str | PathLike[str], seconds: float, resample: bool
    ) -> Iterator[np.ndarray[Any, Any]]:
        """Yield a mono file's samples at the tokenizer's rate, block by block."""
        rate = probe_audio(path).sample_rate
        if rate != self.sample_rate and not resample:
            raise AudioError(other_rate(str(path), rate, self.sample_rate))
        return read_blocks(path, sample_rate=self.sample_rate, channels="error", block_seconds=seconds)

    def _lack(self, what: str) -> str:
        return f"'{self.name}' is of the family '{self.card.family}', which has no {what}; take one of a family that has."

    def _networks(self) -> tuple[torch.nn.Module, ...]:
        """Return the networks that `to` moves; none for families without weights."""
        return ()

    def _rebuild(self) -> None:
        """Give the networks the tokenizer's dtype: families make them again from the stored weights."""
        for network in self._networks():
            network.to(dtype=self.dtype)

    def _state_dict(self) -> dict[str, Tensor]:
        """Return the weights as they were stored, by published name; empty for families without any."""
        return {}

    def _texts(self) -> dict[str, str]:
        """Return the other files of a saved tokenizer: name → text."""
        return {}

    def _check_length(self, num_samples: Tensor) -> None:
        shortest = int(num_samples.min())
        if shortest < self.min_samples:
            which = "The recording" if len(num_samples) == 1 else f"Utterance {int(num_samples.argmin())}"
            raise AudioError(
                f"{which} has {shortest} samples ({shortest / self.sample_rate:.4f} s); "
                f"'{self.name}' needs at least {self.min_samples}."
            )


def _keep(kept: dict[str, list[Tensor]], piece: SpeechTokens) -> None:
    """Keep the codes of a piece in the fewest bytes: those of hours are held."""
    for stream in piece.info.streams:
        size = stream.codebook_size
        narrow = torch.uint8 if size <= 256 else torch.int16 if size <= 32768 else torch.int32
        kept[stream.name].append(piece[stream.name].to(narrow))


def _is(value: Any, kind: type[Any]) -> bool:
    """Return whether a value, annotated or not, is of a kind of numbers."""
    return isinstance(value, kind)


def _compute_exactly(kind: type[Any]) -> None:
    """Have the methods of `_EXACT` that a class itself defines check what every family takes and compute at full precision."""
    for name in _EXACT:
        if name in vars(kind):
            setattr(kind, name, _exactly(vars(kind)[name]))


def _exactly(method: Callable[..., Any]) -> Callable[..., Any]:
    @uncompiled
    @functools.wraps(method)
    def compute(self: SpeechTokenizer, *args: Any, **options: Any) -> Any:
        if options.get("num_codebooks") is not None:
            self.check_codebooks(options["num_codebooks"])
        seconds = options.get("chunk_seconds")
        if seconds is not None and not (_is(seconds, Real) and 0 < seconds <= RECORDING_SECONDS):
            raise ValueError(
                f"`chunk_seconds` must be more than 0 and at most {RECORDING_SECONDS:g}, got {reprlib.repr(seconds)}."
            )
        with exact(self.device):
            return method(self, *args, **options)

    return compute


_compute_exactly(SpeechTokenizer)
