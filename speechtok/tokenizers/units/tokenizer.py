"""Content units, pitch codes and a speaker, put together from published parts.

Source: Polyak et al. 2021, Speech Resynthesis from Discrete Disentangled Self-Supervised Representations,
arXiv:2104.00355; Lakhotia et al. 2021, GSLM, arXiv:2102.01192.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from speechtok.cards import TokenizerCard
from speechtok.errors import CheckpointError
from speechtok.tokenizers.base import SpeechTokenizer
from speechtok.tokenizers.fingerprint import fingerprint
from speechtok.tokenizers.ragged import check_streams, padded, rows_of, stack_tokens
from speechtok.tokenizers.units import analysis
from speechtok.tokenizers.units.components import Components, stored_entries, with_own_quantizer
from speechtok.tokenizers.units.config import UnitConfig
from speechtok.tokenizers.units.fit import CONTENT, PITCH, check_fit, streams_of
from speechtok.tokenizers.units.hubert import Hubert
from speechtok.tokenizers.units.hubert_config import unusual
from speechtok.tokenizers.units.sources import Source, find_files, find_sources, read_settings
from speechtok.tokenizers.units.synthesis import speak, with_predicted_durations
from speechtok.tokenizers.units.voices import (
    SpeakerEncoder,
    choose_statistics,
    choose_style,
    choose_voices,
    row_of,
)
from speechtok.tokenizers.units.vqvae_units import VqVaeUnits
from speechtok.tokens import SpeechTokens

METHOD = "units/1"
"""Family and version; the version rises when a change of code changes codes."""


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

    speaker_encoder: SpeakerEncoder | None
    """Waveforms `(batch, samples)` and `num_samples` to vectors; set it to use another network."""
    sources: dict[str, Source]
    """Part → where its entries lie."""

    def __init__(
        self,
        card: TokenizerCard,
        files: Mapping[str, Path],
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.config = read_settings(card.build_config(UnitConfig), files)
        if not files:
            raise CheckpointError(_what_to_give(card, self.config))
        self.sources = find_sources(files)
        self.parts = Components.read(self.config, self.sources, dtype)
        check_fit(self.config, self.parts)
        streams = streams_of(self.config, self.parts)
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
        analysed = ("features.", "kmeans.", "f0.encoder.", "f0.vq.")
        entries = with_own_quantizer(stored_entries(self.config, self.sources))
        weights = {name: value for name, value in entries.items() if name.startswith(analysed)}
        settings = {
            name: value
            for name, value in asdict(self.config).items()
            if name not in ("speakers", "styles", "style", "speaker_network", "feature_network")
            and (name != "padding" or value)  # fingerprints are older than it
        }
        if isinstance(self.parts.reader, Hubert) and (other := unusual(self.parts.reader.settings)):
            settings["feature_network"] = other
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
        return max(1, self.parts.reader.min_samples - 2 * self.config.padding)

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

    @property
    def num_voices(self) -> int:
        """Rows of the vocoder's table."""
        return self.parts.vocoder.num_voices if self.parts.vocoder is not None else 0

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
        return padded(
            nn.functional.embedding(codes[0], table).t() for codes in rows_of(tokens.to(self.device), name)
        )

    def convert_voice(
        self, tokens: SpeechTokens, speaker: Any, *, style: Any = None, tail: str = "reference"
    ) -> Tensor:
        """Return the speech of `tokens` in another voice.

        Args:
            tokens: the source, made by this tokenizer.
            speaker: name or row of a voice in the vocoder's table; or, for vocoders that take x-vectors, tokens of
                the target, a vector `(512,)` or `(batch, 512)`, or the path of a recording.
            style: name or row of a style in the vocoder's table, for vocoders that have one.
            tail: see `decode`.

        Returns:
            `(batch, samples)`, float, zero past `tokens.num_samples[i]`.

        Raises:
            CheckpointError: when there is no vocoder.
            TokensError: when the tokens are another tokenizer's.
            ValueError: when the vocoder does not know the speaker.
        """
        result: Tensor = self.decode(tokens, speaker=speaker, style=style, tail=tail)
        return result

    def predict_durations(self, tokens: SpeechTokens) -> SpeechTokens:
        """Return tokens in which each run of equal units lasts as long as the vocoder predicts, to be decoded.

        For units whose durations are not known, such as those of a translation: one frame of each is enough.

        Args:
            tokens: made by this tokenizer, or of its units.

        Raises:
            CheckpointError: when the vocoder has no predictor of durations, as those of S2ST do, or takes pitch.
            TokensError: when the tokens are another tokenizer's.
        """
        self.check_tokens(tokens)
        vocoder = self.parts.vocoder
        if vocoder is None or not vocoder.settings.duration_hidden or vocoder.settings.f0 is not None:
            raise CheckpointError(
                f"'{self.name}' has no vocoder with a predictor of durations and without pitch; put such a one, with its "
                "config.json, into the folder vocoder/."
            )
        with torch.inference_mode():
            return with_predicted_durations(vocoder, tokens.to(self.device))

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
            self.parts,
            waveform,
            num_samples,
            seconds=chunk_seconds,
            chunk=chunk,
            rate=self.sample_rate,
            padding=self.config.padding,
        )
        rows = {CONTENT: [own[None] for own in units]}
        if self.parts.f0 is not None:
            row = row_of(self.config, speaker, self.name) if speaker is not None else None
            rows[PITCH] = [
                analysis.pitch_codes(
                    self.parts.f0,
                    self.config,
                    item[: min(len(own), samples // self.hop_length) * self.hop_length],
                    row,
                )[None]
                for item, own, samples in zip(waveform, units, num_samples.tolist(), strict=True)
            ]
        vectors = None
        if self.speaker_embedding_dim is not None and self.speaker_encoder is not None:
            vectors = self.speaker_encoder(analysis.leveled(waveform, num_samples), num_samples)
        return stack_tokens(rows, num_samples, self.info, speaker_embedding=vectors)

    def _decode(
        self, tokens: SpeechTokens, *, speaker: Any = None, style: Any = None, tail: str = "reference"
    ) -> Tensor:
        """Decode; `speaker` and `style` as in `convert_voice`, `tail` is "reference" or "keep".

        The published decoder leaves out what is left after whole pitch codes (under 80 ms, silent here);
        "keep" repeats the last unit and pitch code instead.
        """
        vocoder = self.parts.vocoder
        if vocoder is None:
            raise CheckpointError(
                f"'{self.name}' was loaded without the part 'vocoder', so it cannot decode; "
                "put a checkpoint g_XXXXXXXX into the folder vocoder/ beside its other parts."
            )
        if tail not in ("reference", "keep"):
            raise ValueError(f"`tail` must be 'reference' or 'keep', got '{tail}'.")
        check_streams(tokens, [stream.name for stream in self.streams])
        return speak(
            vocoder,
            tokens,
            choose_voices(vocoder, self.config, tokens, speaker, self.speaker_encoder, self.name),
            keep_tail=tail == "keep",
            statistics=choose_statistics(vocoder, self.config, len(tokens), speaker, self.name),
            style=choose_style(vocoder, self.config, len(tokens), style, self.name),
        )

    def _units(self, num_samples: int) -> int:
        return self.parts.reader.num_frames(num_samples + 2 * self.config.padding)

    def _rebuild(self) -> None:
        own = self.speaker_encoder is self.parts.speaker
        self.parts = Components.read(self.config, self.sources, self.dtype)
        self.speaker_encoder = self.parts.speaker if own else self.speaker_encoder

    def _networks(self) -> tuple[nn.Module, ...]:
        return self.parts.networks()

    def _state_dict(self) -> dict[str, Tensor]:
        return stored_entries(self.config, self.sources)


def _what_to_give(card: TokenizerCard, config: UnitConfig) -> str:
    """Return the sentence that says which files a composition needs, and where they are published."""
    parts = (("features/", config.features != "logmel"), ("kmeans/", config.features != "vqvae"))
    needed = " and ".join(part for part, is_needed in parts if is_needed)
    where = f": {card.published}" if card.published else "."
    return (
        f"Tokenizer '{card.name}' is put together of parts that lie in a folder of yours; give a checkpoint folder with "
        f"{needed}, as docs/families/units.md says{where}"
    )
