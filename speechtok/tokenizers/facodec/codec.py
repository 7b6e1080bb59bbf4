"""FACodec as a whole: batches of utterances to codes and speaker vectors, and back.

Conventions: a batch is `(batch, samples)` with `num_samples`; codes are stream → `(batch, codebooks,
frames)` with one `num_frames` for all streams, zero past it. Nothing here touches a file.

Every utterance is computed as if alone, whatever the batch, in windows with full context
(`nets.windows`), whose results equal those of the whole. On the CPU a window is one pass of its true
length; on a GPU windows of several utterances share a padded pass, which is exact as well.

What is global: the speaker vector (exact up to `TIMBRE_FRAMES`; a longer utterance is cut into equal
parts no longer than that, whose vectors are averaged by length), the prosody codes of version 2 with
the residual codes that follow from them, and the prosody part of voice conversion in version 1. Their
attention needs memory in proportion to length and time in proportion to its square.

Contents: `Codec`, `Encoded`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speechtok.nets.windows import Window, plan_windows
from speechtok.tokenizers.facodec.config import FacodecConfig
from speechtok.tokenizers.facodec.factors import STREAMS, Factors, MelFeature
from speechtok.tokenizers.facodec.network import ENCODER_CONTEXT, GENERATOR_CONTEXT, Encoder, Generator
from speechtok.tokenizers.facodec.redecoder import Redecoder

TIMBRE_FRAMES = 9600
"""Longest stretch the timbre encoder sees at once: two minutes."""
ENCODER_WINDOW = 320
"""Frames encoded per window unless asked otherwise: 4 s."""
GENERATOR_WINDOW = 160
"""Frames generated per window: 2 s."""
GPU_WINDOWS = 16
"""Windows per pass on a GPU."""


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """What encoding a batch gives."""

    codes: dict[str, Tensor]
    """Stream → `(batch, codebooks, frames)`, int64, zero past `num_frames`."""
    num_frames: Tensor
    """`(batch,)`, int64, the same for all streams."""
    speaker_embedding: Tensor
    """`(batch, channels)`."""


class Codec(nn.Module):
    """The networks of one FACodec, each present or not: encoding needs no generator, decoding no encoder."""

    encoder: Encoder
    factors: Factors
    mel: MelFeature
    generator: Generator
    redecoder: Redecoder

    def __init__(self, config: FacodecConfig, parts: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.config = config
        for name, part in parts.items():
            self.add_module(name, part)

    def num_frames(self, num_samples: int) -> int:
        """Return the frames that `num_samples` samples give.

        Version 1: floor((num_samples + 48) / 200), which needs 152 samples. Version 2 has one mel frame per
        200 whole samples and drops a last latent frame without one: floor(num_samples / 200), which
        needs 413 samples.
        """
        hop = self.config.hop_length
        return num_samples // hop if self.config.version == 2 else (num_samples + 48) // hop

    @torch.no_grad()
    def encode(
        self,
        waveform: Tensor,
        num_samples: Tensor,
        *,
        chunk_samples: int | None = None,
        num_codebooks: int | None = None,
    ) -> Encoded:
        """Return codes and speaker vectors; each item as if alone.

        Args:
            waveform: `(batch, samples)`, in [-1, 1].
            num_samples: `(batch,)`, int64, at least 152 (version 1) or 413 (version 2).
            chunk_samples: samples per window, which changes speed and memory only; None takes what is fast.
            num_codebooks: at most this many codebooks in each stream; None keeps all.
        """
        lengths = num_samples.tolist()
        frames = [self.num_frames(length) for length in lengths]
        most = None if num_codebooks is None else max(1, num_codebooks)
        codes = {
            name: torch.zeros(
                len(lengths),
                min(count, most or count),
                max(frames),
                dtype=torch.int64,
                device=waveform.device,
            )
            for name, count in self.config.codebooks.items()
        }
        prosody: list[Tensor | None] = [None] * len(lengths)
        if self.config.version == 2:
            for item, length in enumerate(lengths):
                prosody[item] = self.factors.encode_prosody(
                    self.mel(waveform[item, :length])[None], num_codebooks
                )
        size = ENCODER_WINDOW if chunk_samples is None else max(1, chunk_samples // self.config.hop_length)
        timbres = [_Timbre(self.factors, count) for count in frames]
        for item, window, latent in self._latents(waveform, lengths, frames, size):
            known, span = prosody[item], slice(window.first, window.stop)
            coded = self.factors.encode(latent, None if known is None else known[..., span], num_codebooks)
            for name, values in coded.items():
                codes[name][item, :, span] = values[0]
            timbres[item].add(latent)
        return Encoded(
            codes=codes,
            num_frames=torch.tensor(frames, dtype=torch.int64, device=waveform.device),
            speaker_embedding=torch.cat([timbre.vector() for timbre in timbres]),
        )

    @torch.no_grad()
    def embed(self, codes: Mapping[str, Tensor], num_frames: Tensor) -> Tensor:
        """Return the quantized latent the codes stand for, summed over the streams given.

        Args:
            codes: stream → `(batch, codebooks, frames)`, one stream or several.
            num_frames: `(batch,)`, int64.

        Returns:
            `(batch, channels, frames)`, zero past `num_frames`.
        """
        embedding = self.factors.decode(codes)
        inside = torch.arange(embedding.shape[1], device=embedding.device) < num_frames[:, None]
        return (embedding * inside[..., None]).transpose(1, 2)

    @torch.no_grad()
    def decode(
        self,
        codes: Mapping[str, Tensor],
        num_frames: Tensor,
        speaker: Tensor,
        num_samples: Tensor,
        *,
        use_residual: bool = True,
    ) -> Tensor:
        """Return the waveform of the codes, spoken with the timbre of `speaker`.

        Args:
            codes: stream → `(batch, codebooks, frames)`.
            num_frames: `(batch,)`, int64.
            speaker: `(batch, channels)`.
            num_samples: `(batch,)`, int64, samples wanted; beyond 200 per frame they are silent.
            use_residual: whether the acoustic detail of stream `residual` is used.

        Returns:
            `(batch, max(num_samples))`, zero past each item's `num_samples`.
        """
        out = speaker.new_zeros(len(speaker), int(num_samples.max()))
        names = [name for name in STREAMS if name in codes and (use_residual or name != "residual")]
        for item, frames in enumerate(num_frames.tolist()):
            mine = {name: codes[name][item : item + 1, :, :frames] for name in names}
            embedding = self.factors.decode(mine)
            self._generate(
                self.generator, embedding, speaker[item : item + 1], out[item], int(num_samples[item])
            )
        return out

    @torch.no_grad()
    def convert_voice(
        self,
        codes: Mapping[str, Tensor],
        num_frames: Tensor,
        speaker: Tensor,
        num_samples: Tensor,
        *,
        use_residual: bool = False,
    ) -> Tensor:
        """Return the waveform of the codes in another voice.

        Version 1 uses the redecoder, version 2 the generator with another speaker vector.

        Args:
            codes: stream → `(batch, codebooks, frames)` of the source.
            num_frames: `(batch,)`, int64.
            speaker: `(batch, channels)`, vectors of the targets.
            num_samples: as in `decode`.
            use_residual: whether the source's acoustic detail, which carries some of its voice, is used.

        Returns:
            `(batch, max(num_samples))`, zero past each item's `num_samples`.
        """
        if self.config.version == 2:
            return self.decode(codes, num_frames, speaker, num_samples, use_residual=use_residual)
        out = speaker.new_zeros(len(speaker), int(num_samples.max()))
        for item, frames in enumerate(num_frames.tolist()):
            mine = {name: values[item : item + 1, :, :frames] for name, values in codes.items()}
            target = speaker[item : item + 1]
            embedding = self.redecoder.prosody(mine.pop("prosody"), target)
            if not use_residual:
                mine.pop("residual", None)
            embedding += self.redecoder.look_up(mine)
            self._generate(self.redecoder, embedding, target, out[item], int(num_samples[item]))
        return out

    def _generate(
        self, generator: Generator, embedding: Tensor, speaker: Tensor, out: Tensor, num_samples: int
    ) -> None:
        """Write the waveform of one utterance, `embedding` `(1, frames, channels)`, to `out` `(samples,)`."""
        hop = self.config.hop_length
        for window in plan_windows(embedding.shape[1], GENERATOR_WINDOW, GENERATOR_CONTEXT):
            wave = generator(embedding[:, window.start : window.end], speaker)[0]
            first, stop = hop * window.first, min(hop * window.stop, num_samples)
            if stop > first:
                offset = hop * window.start
                out[first:stop] = wave[first - offset : stop - offset]

    def _latents(
        self, waveform: Tensor, lengths: list[int], frames: list[int], size: int
    ) -> Iterator[tuple[int, Window, Tensor]]:
        """Yield item, window and latent `(1, frames, channels)` for every window of a batch, in order."""
        hop = self.config.hop_length
        jobs = [
            (item, window, min(lengths[item], hop * (window.stop + ENCODER_CONTEXT)) - hop * window.start)
            for item, count in enumerate(frames)
            for window in plan_windows(count, size, ENCODER_CONTEXT)
        ]
        group = 1 if waveform.device.type == "cpu" else GPU_WINDOWS
        for at in range(0, len(jobs), group):
            together = jobs[at : at + group]
            width = max(samples for _, _, samples in together)
            pieces = waveform.new_zeros(len(together), width)
            for piece, (item, window, samples) in zip(pieces, together, strict=True):
                start = hop * window.start
                piece[:samples] = waveform[item, start : start + samples]
            ragged = None
            if any(samples != width for _, _, samples in together):
                ragged = torch.tensor([samples for _, _, samples in together], device=waveform.device)
            latents = self.encoder(pieces, ragged).transpose(1, 2)  # (windows, frames, channels)
            for latent, (item, window, _) in zip(latents, together, strict=True):
                yield item, window, latent[None, window.kept]


class _Timbre:
    """Collects the latents of one utterance until the timbre encoder can run, at most `TIMBRE_FRAMES`."""

    def __init__(self, factors: Factors, num_frames: int) -> None:
        self._factors, self._num_frames = factors, num_frames
        self._sizes = [w.stop - w.first for w in plan_windows(num_frames, TIMBRE_FRAMES, 0)]
        self._held: list[Tensor] = []
        self._sum: Tensor | float = 0.0

    def add(self, latent: Tensor) -> None:
        """Take the next frames, `(1, frames, channels)`; every complete part is worked off at once."""
        self._held.append(latent)
        while self._sizes and sum(part.shape[1] for part in self._held) >= self._sizes[0]:
            size = self._sizes.pop(0)
            whole = torch.cat(self._held, dim=1) if len(self._held) > 1 else self._held[0]
            self._sum = self._factors.timbre(whole[:, :size]) * (size / self._num_frames) + self._sum
            self._held = [whole[:, size:]]

    def vector(self) -> Tensor:
        """Return the speaker vector, `(1, channels)`, once all frames were added."""
        return torch.as_tensor(self._sum)
