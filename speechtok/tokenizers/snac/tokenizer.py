"""SNAC behind the shared interface: one stream for each codebook, each at a frame rate of its own.

Source: Siuzdak et al. 2024, SNAC: Multi-Scale Neural Audio Codec, arXiv:2410.14411; the network is that of the package `snac`,
weights are `hubertsiuzdak/snac_24khz` on the Hub.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechtok.cards import TokenizerCard
from speechtok.checkpoints.read import read_state_dict
from speechtok.errors import CheckpointError, TokensError
from speechtok.limits import read_json
from speechtok.nets.weight_norm import fold_parametrized
from speechtok.tokenizers.base import SpeechTokenizer
from speechtok.tokenizers.fingerprint import fingerprint
from speechtok.tokenizers.ragged import padded, rows_of, stack_speech, stack_tokens
from speechtok.tokens import SpeechTokens, StreamInfo

METHOD = "snac/1"
"""Family and version; the version rises when a change of code changes codes."""
CONFIG_FILE = "config.json"
"""Name of the configuration in a published folder."""
FIELDS = {
    "sampling_rate": 200_000,
    "encoder_dim": 4096,
    "encoder_rates": 100,
    "latent_dim": 65_536,
    "decoder_dim": 65_536,
    "decoder_rates": 100,
    "attn_window_size": 65_536,
    "codebook_size": 65_536,
    "codebook_dim": 4096,
    "vq_strides": 100,
    "noise": 1,
    "depthwise": 1,
}
"""Field of the configuration → the largest number it may hold."""
CODE_FIELDS = ("sampling_rate", "encoder_rates", "attn_window_size", "vq_strides", "depthwise")
"""Fields that decide what a code means and do not all show in the shapes of the weights."""


class SnacTokenizer(SpeechTokenizer):
    """SNAC: streams `acoustic_0`, `acoustic_1` and so on, coarse first, of one codebook each.

    Utterances of a batch are computed one by one, filled with zeros up to a whole frame of the coarsest stream. The decoder
    draws noise; its seed follows from the codes, so that the same tokens always sound the same.

    Args:
        card: what was released.
        files: local path of `config.json` and of the file of weights.
        device: where tensors live.
        dtype: float type of all computation.

    Raises:
        CardError: when the card's streams do not fit.
        CheckpointError: when a file is missing, damaged or does not fit, or the package `snac` is not installed.
    """

    def __init__(
        self,
        card: TokenizerCard,
        files: Mapping[str, Path],
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        weights = [name for name in files if name != CONFIG_FILE]
        if CONFIG_FILE not in files or len(weights) != 1:
            raise CheckpointError(
                f"Tokenizer '{card.name}' needs {CONFIG_FILE} and one file of weights, got: {', '.join(files) or 'none'}."
            )
        self._config_text = files[CONFIG_FILE].read_text(encoding="utf-8")
        self._weights_path = files[weights[0]]
        self.model, stored, settings = _build(files[CONFIG_FILE], self._weights_path, dtype)
        self._hop = math.prod(settings["encoder_rates"])
        self._hops = [self._hop * stride for stride in settings["vq_strides"]]
        self._padded_to = self._hop * math.lcm(*settings["vq_strides"], settings["attn_window_size"] or 1)
        rate = int(settings["sampling_rate"])
        streams = tuple(
            StreamInfo(
                name=f"acoustic_{index}",
                num_codebooks=1,
                codebook_size=settings["codebook_size"],
                frame_rate=rate / hop,
                hop_length=hop,
            )
            for index, hop in enumerate(self._hops)
        )
        analysis = {name: value for name, value in stored.items() if not name.startswith("decoder.")}
        identity = fingerprint(METHOD, {name: settings[name] for name in CODE_FIELDS}, analysis)
        super().__init__(card, fingerprint=identity, streams=streams, device=device, dtype=dtype)
        self.model.to(self.device)

    def num_frames(self, num_samples: int, stream: str) -> int:
        """Return the frames of `stream` in so many samples, filled to a whole frame of the coarsest one."""
        whole = -(-num_samples // self._padded_to) * self._padded_to
        return int(whole // self.info.stream(stream).hop_length)

    def embed(self, tokens: SpeechTokens, stream: str | None = None) -> Tensor:
        """Return what the decoder reads: the quantized latents of all streams, or of one, summed at the finest rate.

        Args:
            tokens: made by this tokenizer.
            stream: one stream alone; None sums all.

        Returns:
            `(batch, channels, frames)`, float, zero past the last frame.
        """
        self.check_tokens(tokens)
        chosen = [self.info.stream(stream).name] if stream else [item.name for item in self.streams]
        return padded(self._latents(item, chosen)[0] for item in tokens.to(self.device))

    def _encode(
        self,
        waveform: Tensor,
        num_samples: Tensor,
        *,
        chunk_seconds: float | None = None,
        num_codebooks: int | None = None,
    ) -> SpeechTokens:
        rows: dict[str, list[Tensor]] = {item.name: [] for item in self.streams}
        for row, samples in zip(waveform, num_samples.tolist(), strict=True):
            for name, codes in zip(rows, self.model.encode(self._filled(row[:samples])), strict=True):
                rows[name].append(codes)
        return stack_tokens(rows, num_samples, self.info)

    def _decode(self, tokens: SpeechTokens) -> Tensor:
        rows = []
        for item in tokens:
            latents = self._latents(item, [stream.name for stream in self.streams])
            seed = zlib.crc32(b"".join(codes.cpu().numpy().tobytes() for codes in item.streams.values()))
            rows.append(self._speak(latents, seed))
        return stack_speech(rows, tokens.num_samples.tolist())

    def _speak(self, latents: Tensor, seed: int) -> Tensor:
        """Return the waveform `(samples,)` of latents `(1, channels, frames)`, with the noise of a seed."""
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(seed)
            waveform: Tensor = self.model.decoder(latents)[0, 0]
        return waveform

    def _filled(self, waveform: Tensor) -> Tensor:
        """Return `(1, 1, samples)` with zeros up to a whole frame of the coarsest stream."""
        return torch.nn.functional.pad(waveform, (0, -len(waveform) % self._padded_to))[None, None]

    def _analyse(self, waveform: Tensor) -> tuple[Tensor, None, None]:
        return self.model.encoder(self._filled(waveform))[0], None, None

    def _synthesise(self, latent: Tensor, speaker: Tensor | None, scale: Tensor | None) -> Tensor:
        return self._speak(latent[None], 0)  # the noise cannot follow from codes here

    def _latents(self, item: SpeechTokens, chosen: list[str]) -> Tensor:
        """Return the latents `(1, channels, frames)` of one utterance.

        Raises:
            TokensError: when streams lack, or their frames do not fit each other.
        """
        parts = []
        for stride, quantizer, stream in zip(
            self._strides, self.model.quantizer.quantizers, self.streams, strict=True
        ):
            if stream.name not in chosen:
                continue
            codes = rows_of(item, stream.name)[0]
            parts.append(quantizer.out_proj(quantizer.decode_code(codes)).repeat_interleave(stride, dim=-1))
        if len({part.shape[2] for part in parts}) != 1:
            raise TokensError(
                f"The streams of '{self.name}' do not last equally long; their frames do not fit."
            )
        total: Tensor = sum(parts[1:], start=parts[0])
        return total

    @property
    def _strides(self) -> list[int]:
        return [hop // self._hop for hop in self._hops]

    def _networks(self) -> tuple[torch.nn.Module, ...]:
        return (self.model,)

    def _texts(self) -> dict[str, str]:
        return {CONFIG_FILE: self._config_text}

    def _state_dict(self) -> dict[str, Tensor]:
        return read_state_dict(self._weights_path)


def _build(config: Path, weights: Path, dtype: torch.dtype) -> tuple[Any, dict[str, Tensor], dict[str, Any]]:
    """Return the network, the weights as stored, and the settings."""
    try:
        from snac import SNAC
    except ImportError as error:
        raise CheckpointError("SNAC needs the package snac: pip install 'speechtok[snac]'.") from error
    settings = _settings(config)
    stored = read_state_dict(weights)
    try:
        with torch.device("meta"):  # a network that the file cannot fill never takes memory
            needed = sum(value.numel() for value in SNAC(**settings).parameters())
        held = sum(value.numel() for value in stored.values())
        if needed > 2 * held:
            raise CheckpointError(
                f"'{weights}' holds {held:,} values, but {CONFIG_FILE} describes a network of {needed:,}."
            )
        model = SNAC(**settings).to(dtype)
        model.load_state_dict({name: value.to(dtype) for name, value in stored.items()}, strict=True)
    except CheckpointError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise CheckpointError(f"'{weights}' does not fit the network of '{config}': {reason}") from error
    fold_parametrized(model)
    return model.eval().requires_grad_(False), stored, settings


def _settings(path: Path) -> dict[str, Any]:
    """Return the fields of the configuration that the network takes, none larger than any has."""
    content = read_json(path, "configuration", error=CheckpointError)
    if not isinstance(content, dict) or not {"encoder_rates", "vq_strides", "codebook_size"} <= set(content):
        raise CheckpointError(f"'{path}' is no configuration of SNAC: it lacks encoder_rates or vq_strides.")
    found = {name: content[name] for name in FIELDS if name in content}
    for name, value in found.items():
        values = value if isinstance(value, list) else [value]
        is_list = name in ("encoder_rates", "decoder_rates", "vq_strides")
        fits = is_list == isinstance(value, list) and 1 <= len(values) <= 10
        for one in values:
            optional = one is None and name in ("latent_dim", "attn_window_size")
            fits = fits and (
                optional or isinstance(one, bool) or (isinstance(one, int) and 1 <= one <= FIELDS[name])
            )
        if not fits:
            raise CheckpointError(f"'{path}' has a value for `{name}` that no SNAC has: {str(value)[:60]!r}.")
    return {"attn_window_size": 32, "depthwise": True, "sampling_rate": 44_100, **found}
