"""FAcodec as a whole: batches of utterances to codes and speaker vectors, and back.

Conventions: codes are stream → `(batch, codebooks, frames)` with one `num_frames` for all streams, zero past
it. Nothing here touches a file.

Every utterance is computed as if alone, whatever the batch, in windows that follow each other: convolutions
see the frames before the window that they depend on, LSTMs go on from their state (`network.Memory`). The
results equal those of the whole utterance, and memory does not grow with its length. The items of a batch
take each step together, so that the LSTMs read their weights once; convolutions run item by item on the
CPU, whose cache a window fits, and padded together elsewhere, which is exact because they look back only.
The redecoder looks to both sides and keeps no state: its windows have context to both sides.

What is global: the speaker vector, which is exact up to `TIMBRE_FRAMES`; a longer utterance is cut into parts
of that length, whose vectors are averaged by length. Codes do not depend on it.

Contents: `Codec`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from speechtok.nets.precision import exact
from speechtok.nets.windows import JoinedBlocks, MeanOfParts, Window, plan_windows
from speechtok.tokenizers.facodec_24k.config import Facodec24kConfig
from speechtok.tokenizers.facodec_24k.network import Decoder, Encoder, Memory
from speechtok.tokenizers.facodec_24k.quantizer import Quantizer
from speechtok.tokenizers.facodec_24k.redecoder import Redecoder
from speechtok.tokenizers.factors import Encoded, FactorCodec

T = TypeVar("T")

TIMBRE_FRAMES = 9600
"""Longest stretch the timbre encoder sees at once: two minutes."""
WINDOW = 160
"""Frames per window unless asked otherwise: 2 s."""


class Codec(FactorCodec):
    """The networks of FAcodec and its redecoder."""

    config: Facodec24kConfig
    encoder: Encoder
    quantizer: Quantizer
    decoder: Decoder
    redecoder: Redecoder

    def quantized(self, codes: Mapping[str, Tensor]) -> Tensor:
        """Return the sum of the streams' quantized latents, `(batch, frames, channels)`."""
        return self.quantizer.decode(codes)

    @torch.no_grad()
    def encode(
        self,
        signals: Sequence[JoinedBlocks],
        *,
        window: int | None = None,
        limits: Mapping[str, int] | None = None,
    ) -> Encoded:
        """Return codes and speaker vectors; each item as if alone.

        Args:
            signals: one per item, in [-1, 1], each of at least `min_samples` samples; they are used up.
            window: frames per window, which changes speed and memory only; None takes what is fast.
            limits: stream → codebooks to use, the first ones; streams that are absent use all.
        """
        counts = self._counts(limits)
        size = max(self.config.least_frames, WINDOW if window is None else window)
        items = [_Utterance(self, signal) for signal in signals]
        for group in _groups(items, [item.is_short for item in items]):
            self._encode(group, size, counts)
        return Encoded(
            codes={
                name: pad_sequence([item.codes(name) for item in items], batch_first=True).transpose(1, 2)
                for name in counts
            },
            num_frames=torch.tensor([item.stop for item in items], device=items[0].waveform.device),
            speaker_embedding=torch.cat([item.timbre.vector() for item in items]),
        )

    @torch.no_grad()
    def decode(
        self, codes: Mapping[str, Tensor], num_frames: Tensor, speaker: Tensor, num_samples: Tensor
    ) -> Tensor:
        """Return the waveform of the codes, spoken with the timbre of `speaker`.

        Args:
            codes: stream → `(batch, codebooks, frames)`, of the streams to use.
            num_frames: `(batch,)`, int64.
            speaker: `(batch, channels)`.
            num_samples: `(batch,)`, int64, samples wanted; beyond 300 per frame they are silent.

        Returns:
            `(batch, max(num_samples))`, zero past each item's `num_samples`.
        """
        out = speaker.new_zeros(len(speaker), int(num_samples.max()))
        frames, lengths = num_frames.tolist(), num_samples.tolist()
        short = [count < self.config.least_frames for count in frames]
        for group in _groups(list(range(len(frames))), short):
            for item, first, wave in self._decode(group, frames, codes, speaker):
                _write(out[item, : lengths[item]], self.config.hop_length * first, wave)
        return out

    @torch.no_grad()
    def redecode(
        self, codes: Mapping[str, Tensor], num_frames: Tensor, speaker: Tensor, num_samples: Tensor
    ) -> Tensor:
        """Return the waveform of the codes, spoken with the timbre of `speaker` by the redecoder.

        Args:
            codes: `content` and, where wanted, `prosody` → `(batch, codebooks, frames)`; the released
                scripts give the first content codebook alone.
            num_frames: `(batch,)`, int64.
            speaker: `(batch, channels)`.
            num_samples: as in `decode`.

        Returns:
            `(batch, max(num_samples))`, zero past each item's `num_samples`.
        """
        hop, lengths = self.config.hop_length, num_samples.tolist()
        out = speaker.new_zeros(len(speaker), max(lengths))
        jobs = [
            (item, window)
            for item, count in enumerate(num_frames.tolist())
            for window in plan_windows(count, WINDOW, self.config.redecoder_context)
        ]
        for together in self._alike(jobs, speaker.device):
            items = [item for item, _ in together]
            spans = {
                name: torch.stack([values[item, :, window.start : window.end] for item, window in together])
                for name, values in codes.items()
            }
            with exact(speaker.device):
                waves = self.redecoder(spans, speaker[items])
            for wave, (item, window) in zip(waves, together, strict=True):
                kept = wave[hop * window.kept.start : hop * window.kept.stop]
                _write(out[item, : lengths[item]], hop * window.first, kept)
        return out

    def timbre(self) -> MeanOfParts:
        """Return what collects the mel frames of one utterance and gives its speaker vector."""
        return MeanOfParts(self.quantizer.timbre_encoder, TIMBRE_FRAMES)

    def stream(self, *, window: int | None = None, limits: Mapping[str, int] | None = None) -> CodecStream:
        """Return what encodes one utterance that arrives in blocks.

        Args:
            window: frames per window; None takes all that are there, at least one.
            limits: as in `encode`.
        """
        return CodecStream(self, window, self._counts(limits))

    def _counts(self, limits: Mapping[str, int] | None) -> dict[str, int]:
        most = limits or {}
        return {name: min(count, most.get(name, count)) for name, count in self.config.codebooks.items()}

    def _encode(self, items: Sequence[_Utterance], size: int, counts: Mapping[str, int]) -> None:
        """Encode utterances together, window by window; several must be no `is_short`."""
        memory: Memory | None = None
        while items:
            found, memory = self._step(items, size, counts, memory)
            for item, codes in zip(items, found, strict=True):
                item.keep(codes)
            going = [at for at, item in enumerate(items) if not item.is_done]
            items, memory = [items[at] for at in going], memory.of(going)

    def _step(
        self, items: Sequence[_Utterance], size: int, counts: Mapping[str, int], memory: Memory | None
    ) -> tuple[list[dict[str, Tensor]], Memory]:
        """Return stream → codes `(codebooks, frames)` of the next window of each item, and the LSTMs' state."""
        for item in items:
            item.advance(size)
        with exact(items[0].waveform.device):
            features = self._each(self.encoder.analyse, [item.waveform for item in items])
            features = [x[item.kept] for x, item in zip(features, items, strict=True)]
            latents, memory = self.encoder.recur(pad_sequence(features, batch_first=True), memory)
            prosody = self._each(self.quantizer.prosody_features, [item.mel for item in items])
            lengths = [item.stop - item.first for item in items]
            found = self.quantizer.encode(
                torch.cat([x[:n] for x, n in zip(latents, lengths, strict=True)])[None],
                torch.cat(
                    [x[len(i.mel) - n : len(i.mel)] for x, i, n in zip(prosody, items, lengths, strict=True)]
                )[None],
                counts,
            )
        parts = {name: torch.split(codes[0], lengths, dim=1) for name, codes in found.items()}
        return [{name: part[at] for name, part in parts.items()} for at in range(len(items))], memory

    def _decode(
        self, items: Sequence[int], frames: Sequence[int], codes: Mapping[str, Tensor], speaker: Tensor
    ) -> Iterator[tuple[int, int, Tensor]]:
        """Yield item, first frame and waveform of every window of some items, which go together."""
        memory: Memory | None = None
        past: dict[int, Tensor] = {}
        hop, context = self.config.hop_length, self.config.decoder_context
        for first in range(0, max(frames[item] for item in items), WINDOW):
            going = [at for at, item in enumerate(items) if frames[item] > first]
            items, memory = [items[at] for at in going], None if memory is None else memory.of(going)
            stop = min(first + WINDOW, max(frames[item] for item in items))
            with exact(speaker.device):
                spans = {name: values[items, :, first:stop] for name, values in codes.items()}
                styled = self.quantizer.inject(self.quantizer.decode(spans), speaker[items])
                x, memory = self.decoder.recur(styled, memory)
                pieces = [
                    torch.cat([past.get(item, row[:0]), row[: frames[item] - first]])
                    for item, row in zip(items, x, strict=True)
                ]
                waves = self._each(self.decoder.synthesise, pieces)
            for item, piece, wave in zip(items, pieces, waves, strict=True):
                warm = hop * (len(past[item]) if item in past else 0)
                yield item, first, wave[warm : hop * len(piece)]
                past[item] = piece[max(0, len(piece) - context) :]

    def _each(self, function: Callable[[Tensor], Tensor], pieces: Sequence[Tensor]) -> list[Tensor]:
        """Return what a causal function makes of each piece `(steps, …)`, followed by what padding adds."""
        size = self.pass_size(pieces[0].device)
        found: list[Tensor] = []
        for at in range(0, len(pieces), size):
            found += function(pad_sequence(list(pieces[at : at + size]), batch_first=True))
        return found

    def _alike(
        self, jobs: Sequence[tuple[int, Window]], device: torch.device
    ) -> Iterator[list[tuple[int, Window]]]:
        """Yield windows of equal length, as many as go into a pass."""
        alike: dict[int, list[tuple[int, Window]]] = {}
        for item, window in jobs:
            alike.setdefault(window.end - window.start, []).append((item, window))
        size = self.pass_size(device)
        for group in alike.values():
            yield from (group[at : at + size] for at in range(0, len(group), size))


class _Utterance:
    """One utterance on its way through the encoder: what the next window needs, what the last one gave."""

    waveform: Tensor
    """`(samples,)`, the window's samples, after those before it that its frames depend on."""
    kept: slice
    """Where the window's frames lie in what the encoder makes of `waveform`."""
    mel: Tensor
    """`(frames, bands)`, mel frames of the window, after those before it that they depend on."""

    def __init__(self, codec: Codec, signal: JoinedBlocks) -> None:
        self.config, self.signal = codec.config, signal
        self.timbre = codec.timbre()
        self._to_mel = codec.quantizer.to_mel
        self._past: Tensor | None = None
        self._codes: dict[str, list[Tensor]] = {}
        self.first = self.stop = 0
        self.is_done = False
        self.is_short = not signal.fill(self.config.least_frames * self.config.hop_length)

    def advance(self, size: int) -> None:
        """Go to the next window, of `size` frames or what is left."""
        config, hop, reach = self.config, self.config.hop_length, _reach(self.config)
        self.first, self.stop = self.stop, self.stop + size
        at_end = not self.signal.fill(hop * self.stop + reach)
        if at_end:
            self.stop = min(self.stop, self.signal.stop // hop)
            self.is_done = self.stop == self.signal.stop // hop
        start = max(0, self.first - config.encoder_context)
        self.waveform = self.signal.read(hop * start, self.signal.stop if self.is_done else hop * self.stop)
        # the mirrored start of a short utterance sees its last, broken frame
        self.kept = slice(self.first - start, None if self.is_short else self.stop - start)
        stretch_start = max(0, hop * self.first - reach)
        stretch = self.signal.read(stretch_start, hop * self.stop + reach)
        with exact(stretch.device):
            mel = self._to_mel(stretch[None], self.first, self.stop, start=stretch_start, is_end=at_end)
        self.timbre.add(mel)
        self.mel = mel[0] if self._past is None else torch.cat([self._past, mel[0]])
        self._past = self.mel[max(0, len(self.mel) - config.mel_context) :]
        self.signal.forget(max(0, min(hop * (self.stop - config.encoder_context), hop * self.stop - reach)))

    def keep(self, codes: Mapping[str, Tensor]) -> None:
        """Take stream → codes `(codebooks, frames)` of a window."""
        for stream, part in codes.items():
            self._codes.setdefault(stream, []).append(part.short())

    def codes(self, stream: str) -> Tensor:
        """Return all codes of a stream, `(frames, codebooks)`, int64."""
        return torch.cat(self._codes[stream], dim=1).t().long()


class CodecStream:
    """Takes one utterance in blocks and gives what `Codec.encode` gives for the whole; made by `Codec.stream`."""

    def __init__(self, codec: Codec, window: int | None, counts: Mapping[str, int]) -> None:
        self._codec, self._size, self._counts = codec, window, counts
        self._signal = JoinedBlocks()
        self._item: _Utterance | None = None
        self._memory: Memory | None = None

    def feed(self, samples: Tensor) -> dict[str, Tensor]:
        """Return stream → codes `(codebooks, frames)` that are final after `samples` `(samples,)`."""
        self._signal.add(samples)
        config, parts = self._codec.config, list[dict[str, Tensor]]()
        final = (self._signal.stop - _reach(config)) // config.hop_length
        least = max(self._size or 1, 1 if self._item else config.least_frames)
        while (there := final - (self._item.stop if self._item else 0)) >= least:
            parts.append(self._next(self._size or min(there, WINDOW)) if self._item else self._next(least))
            least = self._size or 1
        return self._joined(parts)

    def finish(self) -> tuple[dict[str, Tensor], Tensor]:
        """Return the codes that were left, and the speaker vector `(1, channels)`."""
        parts = []
        while self._item is None or not self._item.is_done:
            parts.append(self._next(WINDOW))
        return self._joined(parts), self._item.timbre.vector()

    def _joined(self, parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        device = next(self._codec.parameters()).device
        none = {
            n: torch.zeros(count, 0, dtype=torch.int64, device=device) for n, count in self._counts.items()
        }
        return {name: torch.cat([none[name], *(part[name] for part in parts)], dim=1) for name in none}

    def _next(self, size: int) -> dict[str, Tensor]:
        self._item = self._item or _Utterance(self._codec, self._signal)
        (found,), self._memory = self._codec._step([self._item], size, self._counts, self._memory)
        return found


def _reach(config: Facodec24kConfig) -> int:
    """Return the samples to each side that a mel frame depends on."""
    return max(config.hop_length, config.window_length)


def _groups(items: Sequence[T], alone: Sequence[bool]) -> list[list[T]]:
    """Return the items in groups: those marked each alone, the others together."""
    groups = [[item] for item, by_itself in zip(items, alone, strict=True) if by_itself]
    together = [item for item, by_itself in zip(items, alone, strict=True) if not by_itself]
    return [*groups, together] if together else groups


def _write(row: Tensor, first: int, wave: Tensor) -> None:
    """Put samples into a row `(samples,)`, as far as it reaches."""
    part = row[first : first + len(wave)]
    part.copy_(wave[: len(part)])
