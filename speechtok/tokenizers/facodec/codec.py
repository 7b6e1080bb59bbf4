"""FACodec as a whole: batches of utterances to codes and speaker vectors, and back.

Conventions: a batch is `(batch, samples)` with `num_samples`; codes are stream → `(batch, codebooks,
frames)` with one `num_frames` for all streams, zero past it. Nothing here touches a file.

Every utterance is computed as if alone, whatever the batch, in windows with full context
(`nets.windows`), whose results equal those of the whole. On the CPU a window is one pass of its true
length; on a GPU windows of several utterances share a padded pass, which is exact as well.

What is global: the speaker vector (exact up to `TIMBRE_FRAMES`; a longer utterance is cut into parts of
that length, whose vectors are averaged by length), the prosody codes of version 2 with the residual codes
that follow from them, and the prosody part of voice conversion in version 1. The last two need memory in
proportion to length and time in proportion to its square.

Contents: `Codec`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from speechtok.nets.precision import exact
from speechtok.nets.windows import MeanOfParts, Window, plan_windows
from speechtok.tokenizers.facodec.config import FacodecConfig
from speechtok.tokenizers.facodec.factors import STREAMS, Factors, MelFeature
from speechtok.tokenizers.facodec.network import ENCODER_CONTEXT, GENERATOR_CONTEXT, Encoder, Generator
from speechtok.tokenizers.facodec.redecoder import Redecoder
from speechtok.tokenizers.factors import Encoded, FactorCodec
from speechtok.tokenizers.streaming import WindowCoder

TIMBRE_FRAMES = 9600
"""Longest stretch the timbre encoder sees at once: two minutes."""
ENCODER_WINDOW = 320
"""Frames encoded per window unless asked otherwise: 4 s."""
GENERATOR_WINDOW = 320
"""Frames generated per window: 4 s."""


class Codec(FactorCodec):
    """The networks of one FACodec."""

    encoder: Encoder
    factors: Factors
    mel: MelFeature
    generator: Generator
    redecoder: Redecoder

    config: FacodecConfig

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
                with exact(waveform.device):
                    mel = self.mel(waveform[item, :length])[None]
                    prosody[item] = self.factors.encode_prosody(mel, num_codebooks)
        size = ENCODER_WINDOW if chunk_samples is None else max(1, chunk_samples // self.config.hop_length)
        timbres = [self.timbre() for _ in frames]
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

    def stream(self, *, chunk_samples: int | None = None, num_codebooks: int | None = None) -> WindowCoder:
        """Return what encodes one utterance that arrives in blocks, with version 1; version 2 needs the whole.

        Args:
            chunk_samples: samples per window; None takes all that are there, at least a frame.
            num_codebooks: as in `encode`.
        """
        config, timbre = self.config, self.timbre()

        def analyse(samples: Tensor, kept: slice) -> dict[str, Tensor]:
            latent = self.encoder(samples[None])[:, kept]
            timbre.add(latent)
            codes = self.factors.encode(latent, None, num_codebooks)
            return {name: found[0] for name, found in codes.items()}

        return WindowCoder(
            analyse,
            codebooks={n: min(count, num_codebooks or count) for n, count in config.codebooks.items()},
            num_frames=self.num_frames,
            hop_length=config.hop_length,
            context=ENCODER_CONTEXT,
            size=None if chunk_samples is None else max(1, chunk_samples // config.hop_length),
            most=ENCODER_WINDOW,
            speaker=timbre.vector,
        )

    def timbre(self) -> MeanOfParts:
        """Return what collects the latents of one utterance and gives its speaker vector."""
        return MeanOfParts(self.factors.timbre, TIMBRE_FRAMES)

    def quantized(self, codes: Mapping[str, Tensor]) -> Tensor:
        """Return the sum of the streams' quantized latents, `(batch, frames, channels)`."""
        return self.factors.decode(codes)

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
        names = [name for name in STREAMS if name in codes and (use_residual or name != "residual")]
        embeddings = [
            self.factors.decode({name: codes[name][item : item + 1, :, :frames] for name in names})[0]
            for item, frames in enumerate(num_frames.tolist())
        ]
        return self._generate(self.generator, embeddings, speaker, num_samples)

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
        embeddings = []
        for item, frames in enumerate(num_frames.tolist()):
            mine = {name: values[item : item + 1, :, :frames] for name, values in codes.items()}
            with exact(speaker.device):
                embedding = self.redecoder.prosody(mine.pop("prosody"), speaker[item : item + 1])
            if not use_residual:
                mine.pop("residual", None)
            embeddings.append((embedding + self.redecoder.look_up(mine))[0])
        return self._generate(self.redecoder, embeddings, speaker, num_samples)

    def _generate(
        self, generator: Generator, embeddings: list[Tensor], speaker: Tensor, num_samples: Tensor
    ) -> Tensor:
        """Return the waveforms `(batch, samples)` of embeddings `(frames, channels)`, one per item."""
        hop, lengths = self.config.hop_length, num_samples.tolist()
        out = speaker.new_zeros(len(lengths), max(lengths))
        jobs = [
            (item, window)
            for item, embedding in enumerate(embeddings)
            for window in plan_windows(len(embedding), GENERATOR_WINDOW, GENERATOR_CONTEXT)
        ]
        for together in self._passes(jobs, speaker.device):
            items = [item for item, _ in together]
            pieces = [embeddings[item][window.start : window.end] for item, window in together]
            batch, ragged = _padded(pieces)
            with exact(speaker.device):
                waves = generator(batch, speaker[items], ragged)
            for wave, (item, window) in zip(waves, together, strict=True):
                first, stop = hop * window.first, min(hop * window.stop, lengths[item])
                if stop > first:
                    offset = hop * window.start
                    out[item, first:stop] = wave[first - offset : stop - offset]
        return out

    def _latents(
        self, waveform: Tensor, lengths: list[int], frames: list[int], size: int
    ) -> Iterator[tuple[int, Window, Tensor]]:
        """Yield item, window and latent `(1, frames, channels)` for every window of a batch, in order."""
        hop = self.config.hop_length
        jobs = [
            (item, window)
            for item, count in enumerate(frames)
            for window in plan_windows(count, size, ENCODER_CONTEXT)
        ]
        for together in self._passes(jobs, waveform.device):
            pieces = [
                waveform[item, hop * window.start : min(lengths[item], hop * (window.stop + ENCODER_CONTEXT))]
                for item, window in together
            ]
            batch, ragged = _padded(pieces)
            with exact(waveform.device):
                latents = self.encoder(batch, ragged)  # (windows, frames, channels)
            for latent, (item, window) in zip(latents, together, strict=True):
                yield item, window, latent[None, window.kept]

    def _passes(
        self, jobs: list[tuple[int, Window]], device: torch.device
    ) -> Iterator[list[tuple[int, Window]]]:
        size = self.pass_size(device)
        return (jobs[at : at + size] for at in range(0, len(jobs), size))


def _padded(pieces: list[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Return pieces of unequal length as one zero-padded batch, and their lengths unless all are equal."""
    lengths = [len(piece) for piece in pieces]
    ragged = None if len(set(lengths)) == 1 else torch.tensor(lengths, device=pieces[0].device)
    return torch.nn.utils.rnn.pad_sequence(pieces, batch_first=True), ragged
