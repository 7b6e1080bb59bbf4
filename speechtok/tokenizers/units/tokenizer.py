"""Content units, pitch codes and a speaker, put together from published parts.

Source: Polyak et al. 2021, Speech Resynthesis from Discrete Disentangled Self-Supervised Representations,
arXiv:2104.00355; Lakhotia et al. 2021, GSLM, arXiv:2102.01192.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from speechtok.cards import TokenizerCard
from speechtok.errors import CardError, CheckpointError, TokensError
from speechtok.tokenizers.base import SpeechTokenizer
from speechtok.tokenizers.fingerprint import fingerprint
from speechtok.tokenizers.units import analysis
from speechtok.tokenizers.units.components import (
    Components,
    find_files,
    find_sources,
    read_settings,
    stored_entries,
)
from speechtok.tokenizers.units.config import UnitConfig
from speechtok.tokenizers.units.synthesis import speak
from speechtok.tokenizers.units.vqvae_units import VqVaeUnits
from speechtok.tokenizers.waveforms import to_batch
from speechtok.tokens import SpeechTokens, StreamInfo

METHOD = "units/1"
"""Family and version; the version rises when a change of code changes codes."""
CONTENT, PITCH = "content", "pitch"
_F0_HOP = 80


class UnitTokenizer(SpeechTokenizer):
    """Units, pitch and speaker as far as their parts are there.

    Streams: `content` (50 or 100 Hz) always; `pitch` (12.5 Hz) with a pitch quantizer. `speaker_embedding` holds
    the x-vector where there is a network for it. Decoding needs a vocoder. Content of a whole utterance, and pitch,
    depend on all of it; see `chunk` of `encode` for long audio.

    Args:
        card: what was released; its `architecture` holds fields of `UnitConfig`.
        files: the parts' files by path inside the checkpoint folder, or one file of our own.
        device: where tensors live.
        dtype: float32 or float64.

    Raises:
        CardError: when the card's architecture or streams do not fit.
        CheckpointError: when a part is missing, damaged or does not fit the others.
    """

    speaker_encoder: Callable[[Tensor, Tensor], Tensor] | None
    """Waveforms `(batch, samples)` and `num_samples` to vectors; set it to use another network."""

    def __init__(
        self,
        card: TokenizerCard,
        files: Mapping[str, Path],
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        try:
            self.config = UnitConfig(**card.architecture)
        except (TypeError, ValueError) as error:
            raise CardError(f"Card '{card.name}' has an unusable architecture: {error}") from error
        self.config = read_settings(self.config, files)
        self._sources = find_sources(files)
        self.parts = Components.read(self.config, self._sources, dtype)
        _check_fit(self.config, self.parts)
        streams = _streams(self.config, self.parts)
        if any(stream.name == PITCH for stream in card.streams) and len(streams) < len(card.streams):
            raise CheckpointError(
                f"Card '{card.name}' has a stream '{PITCH}', but there is no part 'f0' that makes it."
            )
        channels = self.parts.speaker.channels if self.parts.speaker is not None else None
        card = replace(
            card,
            streams=(*card.streams, *streams[len(card.streams) :]),
            speaker_embedding_dim=channels,
            architecture=asdict(self.config),
        )
        analysed = ("features.", "kmeans.", "f0.encoder.", "f0.vq.", "vocoder.quantizer.")
        entries = stored_entries(self.config, self._sources)
        if "vocoder.f0_dict.weight" in entries:  # its quantizer takes the place of the one in f0/
            entries = {name: value for name, value in entries.items() if not name.startswith("f0.")}
        weights = {name: value for name, value in entries.items() if name.startswith(analysed)}
        settings = {name: value for name, value in asdict(self.config).items() if name != "speakers"}
        super().__init__(
            card,
            fingerprint=fingerprint(METHOD, settings, weights),
            streams=streams,
            device="cpu",
            dtype=dtype,
        )
        self.speaker_encoder = self.parts.speaker
        self.to(device)

    @property
    def min_samples(self) -> int:  # type: ignore[override]
        """Fewest samples that give a unit: 400 for HuBERT."""
        return self.parts.reader.min_samples

    @property
    def can_decode(self) -> bool:
        """Whether there is a vocoder, and the speaker vectors it takes."""
        vocoder = self.parts.vocoder
        return vocoder is not None and (
            vocoder.settings.speaker != "xvector" or self.speaker_embedding_dim is not None
        )

    @property
    def voices(self) -> tuple[str, ...]:
        """Names in the vocoder's table."""
        return tuple(self.config.speakers)

    @classmethod
    def from_card(
        cls, card: TokenizerCard, files: Mapping[str, Path], *, device: torch.device | str, dtype: torch.dtype
    ) -> Self:
        """Build the tokenizer a card describes from the parts that are there."""
        return cls(card, files, device=device, dtype=dtype)

    @classmethod
    def find_files(cls, card: TokenizerCard, folder: Path) -> dict[str, Path] | None:
        """Return the files of the parts' sub-folders."""
        return find_files(folder)

    def num_frames(self, num_samples: int, stream: str = CONTENT) -> int:
        """Return the units of audio, or the pitch codes: one for every whole 80 ms of units."""
        self.info.stream(stream)
        units = self._units(num_samples)
        return (
            units
            if stream == CONTENT
            else min(units, num_samples // self.hop_length) * self.hop_length // 1280
        )

    def num_samples(self, num_frames: int, stream: str = CONTENT) -> int:
        """Return the most samples that give `num_frames` frames of `stream`."""
        hop = self.info.stream(stream).hop_length
        low, high = 0, (num_frames + 2) * hop + self.min_samples
        while low < high:  # frames never fall as samples grow
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.num_frames(middle, stream) <= num_frames else (low, middle - 1)
        return low

    @property
    def hop_length(self) -> int:
        """Samples per unit."""
        return self.config.hop_length

    def embed(self, tokens: SpeechTokens, stream: str | None = None) -> Tensor:
        """Return the vectors of units or of pitch codes.

        Args:
            tokens: made by this tokenizer.
            stream: "content" (the default): k-means centres; "pitch": rows of the pitch codebook.

        Returns:
            `(batch, channels, frames)`, float, zero past `num_frames`.
        """
        self.check_tokens(tokens)
        name = stream or CONTENT
        self.info.stream(name)
        if name == PITCH and self.parts.f0 is not None:
            table = self.parts.f0.vq.vectors
        elif isinstance(self.parts.reader, VqVaeUnits):
            table = self.parts.reader.code_vq.vectors
        else:
            assert self.parts.kmeans is not None  # noqa: S101 - every other reader has one
            table = self.parts.kmeans.cluster_centers_
        codes = tokens[name].to(self.device)[:, 0]
        inside = (
            torch.arange(codes.shape[1], device=self.device)
            < tokens.num_frames[name].to(self.device)[:, None]
        )
        return (nn.functional.embedding(codes, table) * inside[:, :, None]).transpose(1, 2)

    @torch.no_grad()
    def convert_voice(self, tokens: SpeechTokens, speaker: Any, *, tail: str = "reference") -> Tensor:
        """Return the speech of `tokens` in another voice.

        Args:
            tokens: the source, made by this tokenizer.
            speaker: name or row of a voice in the vocoder's table; or, for vocoders that take x-vectors, tokens of
                the target, a vector `(512,)` or `(batch, 512)`, or the path of a recording.
            tail: see `decode`.

        Returns:
            `(batch, samples)`, float, zero past `tokens.num_samples[i]`.

        Raises:
            CheckpointError: when there is no vocoder.
            TokensError: when the tokens are another tokenizer's.
            ValueError: when the vocoder does not know the speaker.
        """
        result: Tensor = self.decode(tokens, speaker=speaker, tail=tail)
        return result

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """Move the tokenizer and return it; another dtype starts again from the stored weights."""
        if dtype is not None and dtype != self.dtype:
            own = self.speaker_encoder is self.parts.speaker
            self.parts = Components.read(self.config, self._sources, dtype)
            self.speaker_encoder = self.parts.speaker if own else self.speaker_encoder
        return super().to(device, dtype)

    def _encode(
        self,
        waveform: Tensor,
        num_samples: Tensor,
        *,
        chunk_seconds: float | None = None,
        num_codebooks: int | None = None,
        chunk: str = "silence",
        speaker: str | int | None = None,
    ) -> SpeechTokens:
        """Encode; `chunk` and `speaker` are this family's options.

        `chunk`: how audio longer than `chunk_seconds` (60 s when left out) is cut for HuBERT: "silence" at the
        quietest places, with as many frames as the whole; "reference" every `chunk_seconds` (100 s when left out),
        losing a frame at each cut as the published quantizers do; "never".
        `speaker`: whose pitch statistics are used, where they are known by speaker.
        """
        units = analysis.content(
            self.parts, waveform, num_samples, seconds=chunk_seconds, chunk=chunk, rate=self.sample_rate
        )
        streams = {CONTENT: nn.utils.rnn.pad_sequence(units, batch_first=True)[:, None]}
        frames = {CONTENT: torch.tensor([len(row) for row in units], device=self.device)}
        if self.parts.f0 is not None:
            row = self._row(speaker) if speaker is not None else None
            codes = [
                analysis.pitch_codes(
                    self.parts.f0,
                    self.config,
                    item[: min(len(own), samples // self.hop_length) * self.hop_length],
                    row,
                )
                for item, own, samples in zip(waveform, units, num_samples.tolist(), strict=True)
            ]
            streams[PITCH] = nn.utils.rnn.pad_sequence(codes, batch_first=True)[:, None]
            frames[PITCH] = torch.tensor([len(own) for own in codes], device=self.device)
        vectors = None
        if self.speaker_embedding_dim is not None and self.speaker_encoder is not None:
            vectors = self.speaker_encoder(analysis.leveled(waveform, num_samples), num_samples)
        return SpeechTokens(
            streams=streams,
            num_frames=frames,
            num_samples=num_samples,
            info=self.info,
            speaker_embedding=vectors,
        )

    def _decode(self, tokens: SpeechTokens, *, speaker: Any = None, tail: str = "reference") -> Tensor:
        """Decode; `speaker` as in `convert_voice`, `tail` is "reference" or "keep".

        The published decoder leaves out what is left after whole pitch codes (under 80 ms, silent here);
        "keep" repeats the last unit and pitch code instead.
        """
        if self.parts.vocoder is None:
            raise CheckpointError(
                f"'{self.name}' was loaded without the part 'vocoder', so it cannot decode; "
                "put a checkpoint g_XXXXXXXX into the folder vocoder/ beside its other parts."
            )
        if tail not in ("reference", "keep"):
            raise ValueError(f"`tail` must be 'reference' or 'keep', got '{tail}'.")
        missing = [stream.name for stream in self.streams if stream.name not in tokens.streams]
        if missing:
            raise TokensError(
                f"These tokens lack the stream '{missing[0]}'; they have: {', '.join(tokens.streams)}."
            )
        return speak(self.parts.vocoder, tokens, self._voices(tokens, speaker), keep_tail=tail == "keep")

    def _voices(self, tokens: SpeechTokens, speaker: Any) -> Tensor | None:
        """Return what the vocoder's speaker layer takes: rows `(batch,)` or vectors `(batch, 512)`."""
        assert self.parts.vocoder is not None  # noqa: S101 - checked by the caller
        kind, batch = self.parts.vocoder.settings.speaker, len(tokens)
        if kind is None:
            return None
        if kind == "table":
            if speaker is None and len(self.config.speakers) > 1:
                raise ValueError(
                    f"'{self.name}' has {len(self.config.speakers)} voices; pass speaker=, a name or a row."
                )
            return torch.full((batch,), self._row(0 if speaker is None else speaker), device=self.device)
        if isinstance(speaker, SpeechTokens) or speaker is None:
            held = (speaker or tokens).speaker_embedding
            if held is None:
                raise ValueError(
                    f"'{self.name}' speaks with an x-vector, but these tokens hold none; pass speaker=, a vector or a path."
                )
            vectors = held
        elif isinstance(speaker, str | Path):
            vectors = self._voice_of(speaker)
        else:
            vectors = torch.as_tensor(speaker)
        vectors = vectors.to(self.device, self.dtype).reshape(-1, vectors.shape[-1])
        if vectors.shape[1] != 512 or len(vectors) not in (1, batch):
            raise ValueError(
                f"`speaker` must hold 1 or {batch} vectors of 512 channels, got shape {tuple(vectors.shape)}."
            )
        return vectors.expand(batch, -1)

    def _row(self, speaker: Any) -> int:
        """Return the row of a speaker by name or number."""
        if isinstance(speaker, str) and speaker in self.config.speakers:
            return self.config.speakers[speaker]
        if isinstance(speaker, int) and 0 <= speaker < 200:
            return speaker
        names = ", ".join(list(self.config.speakers)[:5]) or "none by name"
        raise ValueError(f"'{self.name}' has no speaker {speaker!r}; it has: {names}.")

    def _voice_of(self, path: str | Path) -> Tensor:
        if self.speaker_encoder is None:
            raise ValueError(
                f"'{self.name}' has no part 'speaker', so it cannot take a voice from the recording {path}."
            )
        batch = to_batch(
            str(path),
            None,
            sample_rate=None,
            resample=True,
            target_rate=self.sample_rate,
            device=self.device,
            dtype=self.dtype,
        )
        return self.speaker_encoder(analysis.leveled(batch.waveform, batch.num_samples), batch.num_samples)

    def _units(self, num_samples: int) -> int:
        return self.parts.reader.num_frames(num_samples)

    def _networks(self) -> tuple[nn.Module, ...]:
        return self.parts.networks()

    def _state_dict(self) -> dict[str, Tensor]:
        return stored_entries(self.config, self._sources)


def _streams(config: UnitConfig, parts: Components) -> tuple[StreamInfo, ...]:
    def stream(name: str, size: int, hop: int) -> StreamInfo:
        rate = config.sample_rate / hop
        return StreamInfo(name=name, num_codebooks=1, codebook_size=size, frame_rate=rate, hop_length=hop)

    content = stream(CONTENT, config.num_units, config.hop_length)
    if parts.f0 is None:
        return (content,)
    f0 = parts.f0.settings
    return content, stream(PITCH, f0.codebook_size, f0.hop_length * _F0_HOP)


def _check_fit(config: UnitConfig, parts: Components) -> None:
    """Raise `CheckpointError` unless the parts belong together."""
    reader, kmeans, vocoder = parts.reader, parts.kmeans, parts.vocoder
    if reader.hop_length != config.hop_length:
        raise CheckpointError(
            f"The features have a frame every {reader.hop_length} samples, but the card says {config.hop_length}."
        )
    if kmeans is not None:
        units, width = kmeans.cluster_centers_.shape
        if width != reader.channels:
            raise CheckpointError(
                f"The k-means centres have {width} channels, but the features have {reader.channels}; "
                "they were fitted on other features."
            )
    else:
        units = reader.settings.codebook_size if isinstance(reader, VqVaeUnits) else 0
    if units != config.num_units:
        raise CheckpointError(f"The checkpoint has {units} units, but the card says {config.num_units}.")
    if vocoder is None:
        return
    learned = vocoder.settings.unit_encoder
    known = vocoder.settings.num_units if learned is None else learned.codebook_size
    if known != units:
        raise CheckpointError(f"The vocoder speaks {known} units, but the k-means makes {units}.")
    if vocoder.settings.hop_length != config.hop_length:
        raise CheckpointError(
            f"The vocoder makes {vocoder.settings.hop_length} samples of a unit, but a unit lasts "
            f"{config.hop_length}; its speech would not keep time."
        )
