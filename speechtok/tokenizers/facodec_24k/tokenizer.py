"""FAcodec at 24 kHz behind the shared interface: prosody, content, residual detail and timbre, taken apart.

Source: released code and weights: `Plachtaa/FAcodec`; `Plachta/FAcodec` and `Plachta/FAcodec-redecoder` on the
Hub; after Ju et al. 2024, NaturalSpeech 3, arXiv:2403.03100.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechtok.cards import TokenizerCard
from speechtok.errors import CardError, CheckpointError
from speechtok.nets.windows import JoinedBlocks
from speechtok.tokenizers.base import WEIGHTS_FILE
from speechtok.tokenizers.facodec_24k.codec import WINDOW, Codec
from speechtok.tokenizers.facodec_24k.config import Facodec24kConfig
from speechtok.tokenizers.facodec_24k.convert import FILE_PARTS, Source, build_part
from speechtok.tokenizers.facodec_24k.published_config import read_codec_config, read_redecoder_config
from speechtok.tokenizers.factors import FactorTokenizer, common_frames, factor_streams, joined
from speechtok.tokenizers.fingerprint import fingerprint
from speechtok.tokenizers.streaming import Coder
from speechtok.tokens import SpeechTokens

METHOD = "facodec_24k/1"
"""Family and version; the version rises when a change of code changes codes."""
FOLDERS = {"codec": "FAcodec", "redecoder": "FAcodec-redecoder"}
"""Role → sub-folder of the checkpoint, named as the repositories are."""
WEIGHTS, CONFIG = "pytorch_model.bin", "config.yml"
"""Files in each of them."""
ANALYSIS_PARTS = ("encoder", "quantizer")
"""Parts that decide what a code means, and that encoding needs."""


class Facodec24kTokenizer(FactorTokenizer):
    """FAcodec at 24 kHz, with the redecoder where its file is there.

    Streams at 80 Hz: `prosody` (1 codebook), `content` (2), `residual` (3), of 1024 codes each;
    `speaker_embedding` holds the timbre. Networks for decoding and voice conversion are loaded when
    first used. A code depends on all audio before it and 0.0125 s after it; pieces and batches change nothing.

    Args:
        card: what was released; its `architecture` holds fields of `Facodec24kConfig`, which the published
            `config.yml` overrules.
        files: local path of the files, by their place in the checkpoint folder; the redecoder's may lack.
        device: where tensors live.
        dtype: float32 or float64.

    Raises:
        CardError: when the architecture, the files or the streams do not fit.
        CheckpointError: when a file is damaged or does not fit the networks.
    """

    config: Facodec24kConfig
    codec: Codec
    conversion_methods = ("swap", "redecoder")

    def __init__(
        self,
        card: TokenizerCard,
        files: Mapping[str, Path],
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.config = _published_config(card.build_config(Facodec24kConfig), files)
        self._sources = _sources(card, self.config, files)
        stored = {part: self._read(part) for part in ANALYSIS_PARTS}
        identity = fingerprint(METHOD, _code_settings(self.config), joined(stored))
        changed = {name: value for name, value in asdict(self.config).items() if value != _DEFAULTS[name]}
        super().__init__(
            replace(card, architecture=changed),
            fingerprint=identity,
            streams=factor_streams(self.config),
            device=device,
            dtype=dtype,
        )
        self.codec = Codec(self.config, {})
        for part in ANALYSIS_PARTS:
            self._build(part, stored.pop(part))

    @property
    def min_samples(self) -> int:  # type: ignore[override]
        """Fewest samples that give tokens: 1025."""
        return self.config.min_samples

    def num_frames(self, num_samples: int, stream: str = "content") -> int:
        """Return floor(num_samples / 300)."""
        self.info.stream(stream)
        return num_samples // self.config.hop_length

    def convert_voice(
        self,
        tokens: SpeechTokens,
        speaker: SpeechTokens | Tensor | str,
        *,
        method: str = "swap",
        use_residual: bool = False,
    ) -> Tensor:
        """Return the speech of `tokens` in the voice of `speaker`.

        Args:
            tokens: the source, made by this tokenizer.
            speaker: tokens of the target, or a speaker vector `(channels,)` or `(batch, channels)`; one
                target serves a whole batch.
            method: "swap" decodes the codes with the target's timbre; "redecoder" speaks the first content
                codebook alone with the second network, whose file it needs.
            use_residual: with "swap", whether the source's acoustic detail is kept; it carries some of its voice.

        Returns:
            `(batch, samples)`, float, zero past `tokens.num_samples[i]`.

        Raises:
            CheckpointError: when the redecoder's file is not there.
            TokensError: when the tokens are another tokenizer's, lack what the method reads, or hold no
                speaker vector.
            TypeError: when `speaker` is a name.
            ValueError: when `method` is unknown, `use_residual` does not go with it, or `speaker` has
                another shape.
        """
        self.check_method(method)
        if method == "redecoder" and use_residual:
            raise ValueError("The redecoder reads content alone; `use_residual` goes with method 'swap'.")
        tokens = self._source(tokens, ("prosody", "content") if method == "swap" else ("content",))
        vectors = self._target(speaker, len(tokens))
        if method == "swap":
            return self._speak(tokens, vectors, use_residual=use_residual)
        self._need("redecoder")
        first = {"content": tokens["content"][:, :1]}
        return self.codec.redecode(first, common_frames(tokens), vectors, tokens.num_samples)

    def stored_entries(self, role: str) -> dict[str, Tensor]:
        """Return the weights of "codec" or "redecoder" as they were stored, named as `save_pretrained` names them.

        Raises:
            CheckpointError: when the redecoder's file is not there.
        """
        return {
            f"{role}.{name if part == 'redecoder' else f'{part}.{name}'}": value
            for part in FILE_PARTS[role]
            for name, value in self._read(part).items()
        }

    def _encode(
        self,
        waveform: Tensor,
        num_samples: Tensor,
        *,
        chunk_seconds: float | None = None,
        num_codebooks: int | None = None,
        num_content: int | None = None,
    ) -> SpeechTokens:
        """Encode a batch.

        `num_content` limits the content codebooks alone, as the published code's `n_c` does: the residual
        then also codes what the second one would have held.
        """
        block = WINDOW * self.config.hop_length
        rows = zip(waveform, num_samples.tolist(), strict=True)
        signals = [JoinedBlocks(row[:length].split(block)) for row, length in rows]
        limits = self._limits(num_codebooks, num_content)
        encoded = self.codec.encode(signals, window=self._window(chunk_seconds), limits=limits)
        return self._tokens(encoded, num_samples)

    def _coder(
        self,
        chunk_seconds: float | None = None,
        num_codebooks: int | None = None,
        *,
        num_content: int | None = None,
    ) -> Coder:
        limits = self._limits(num_codebooks, num_content)
        return self.codec.stream(window=self._window(chunk_seconds), limits=limits)

    def _window(self, chunk_seconds: float | None) -> int | None:
        """Return the frames of a window, at most two seconds; None for what is fast."""
        chunk = self._chunk(chunk_seconds)
        return None if chunk is None else min(max(1, chunk // self.config.hop_length), WINDOW)

    def _limits(self, num_codebooks: int | None, num_content: int | None) -> dict[str, int]:
        """Return stream → most codebooks."""
        most = self.config.num_content
        if num_content is not None and not 1 <= num_content <= most:
            raise ValueError(f"`num_content` must be from 1 to {most} for '{self.name}', got {num_content}.")
        limits = dict.fromkeys(self.config.codebooks, num_codebooks or max(self.config.codebooks.values()))
        limits["content"] = min(limits["content"], num_content or most)
        return limits

    def _decode(self, tokens: SpeechTokens, *, use_residual: bool = True) -> Tensor:
        return self._speak(tokens, self._speaker(tokens), use_residual=use_residual)

    def _speak(self, tokens: SpeechTokens, speaker: Tensor, *, use_residual: bool) -> Tensor:
        """Return the waveform of the codes with a timbre, from the codec's own decoder."""
        self._need("decoder")
        codes = {name: codes for name, codes in tokens.streams.items() if use_residual or name != "residual"}
        return self.codec.decode(codes, common_frames(tokens), speaker, tokens.num_samples)

    def _analyse(self, waveform: Tensor) -> tuple[Tensor, Tensor, None]:
        latent, timbre = self.codec.encoder(waveform[None])[0], self.codec.timbre()
        timbre.add(self.codec.quantizer.to_mel(waveform[None]))
        return latent[: len(waveform) // self.config.hop_length].t(), timbre.vector()[0], None

    def _synthesise(self, latent: Tensor, speaker: Tensor | None, scale: Tensor | None) -> Tensor:
        assert speaker is not None  # noqa: S101 - `decode_latents` saw to it
        self._need("decoder")
        waveform: Tensor = self.codec.decoder(self.codec.quantizer.inject(latent.t()[None], speaker[None]))[0]
        return waveform

    def _state_dict(self) -> dict[str, Tensor]:
        return {name: value for role in self._sources for name, value in self.stored_entries(role).items()}

    def _file(self, part: str) -> Source:
        role = next(role for role, parts in FILE_PARTS.items() if part in parts)
        if role not in self._sources:
            raise CheckpointError(
                f"'{self.name}' was loaded without the redecoder. Put {WEIGHTS} and {CONFIG} of "
                f"Plachta/FAcodec-redecoder into {FOLDERS[role]} of the checkpoint folder, or use method 'swap'."
            )
        return self._sources[role]

    def _read(self, part: str) -> dict[str, Tensor]:
        return self._file(part).read(part)

    def _build(self, part: str, weights: dict[str, Tensor]) -> None:
        network = build_part(self._file(part), part, weights, dtype=self.dtype)
        self.codec.add_module(part, network.to(self.device))


_DEFAULTS = asdict(Facodec24kConfig())


def _code_settings(config: Facodec24kConfig) -> dict[str, Any]:
    """Return the settings that decide codes: not those of the decoders."""
    return {
        name: value
        for name, value in asdict(config).items()
        if not name.startswith(("redecoder_", "decoder_"))
    }


def _published_config(config: Facodec24kConfig, files: Mapping[str, Path]) -> Facodec24kConfig:
    codec, redecoder = (f"{FOLDERS[role]}/{CONFIG}" for role in ("codec", "redecoder"))
    if codec in files:
        config = read_codec_config(config, files[codec])
    return read_redecoder_config(config, files[redecoder]) if redecoder in files else config


def _sources(card: TokenizerCard, config: Facodec24kConfig, files: Mapping[str, Path]) -> dict[str, Source]:
    """Return role → weights: published files, or one of our own with both roles in it."""
    if WEIGHTS_FILE in files:
        path = files[WEIGHTS_FILE]
        return {role: Source(config, role, path, f"{role}.") for role in Source.roles(path)}
    found = {
        role: Source(config, role, files[f"{folder}/{WEIGHTS}"])
        for role, folder in FOLDERS.items()
        if f"{folder}/{WEIGHTS}" in files
    }
    if "codec" not in found:
        raise CardError(
            f"Card '{card.name}' must name {FOLDERS['codec']}/{WEIGHTS}, got: {', '.join(files) or 'no files'}."
        )
    return found
