"""Analysis: waveform to levels of a mel spectrum, with a finite window and constant memory.

Bai et al. 2024, dMel: Speech Tokenization Made Simple, arXiv:2407.15835: every channel of
a log-mel spectrum is rounded on its own to a fixed uniform grid. The paper takes the two ends of the
grid from the data; here they are constants, so that codes depend on nothing but the waveform.

Conventions:
    - Frame `t` belongs to samples `[t * hop, (t + 1) * hop)` and sees the `window_length` samples
      around the middle of that stretch. There are `ceil(num_samples / hop)` frames. Samples before
      the beginning and past the end of an utterance are zero.
    - The mel value of a channel is the sum of Fourier *magnitudes* weighted by a triangle of height 1
      on Slaney's mel scale, so that wide high filters sum over more bins: this balances the fall of
      speech spectra, and one grid serves all channels.
    - Level `k` covers `[min_db + k * step_db, min_db + (k + 1) * step_db)` and stands for the middle of
      that range (level 0 for silence); the lowest and the highest level also hold all values beyond. Digital
      silence is level 0 in every channel.
    - Frames are computed in blocks of `BLOCK_FRAMES`, always counted from the beginning of the utterance
      and always of that shape: neither batching nor streaming changes one bit of the arithmetic.

Contents:
    `mel_codes` for a batch, `MelCodeStream` for audio that arrives in pieces.
"""

from functools import lru_cache

import torch
from torch import Tensor

from speechtok.nets.spectrum import magnitude, spectra
from speechtok.tokenizers.dmel.config import DMelConfig
from speechtok.tokenizers.dmel.scales import hann_window, level_edges, mel_filters

BLOCK_FRAMES = 256
"""Frames computed at a time: large enough for speed, small enough for the processor's cache."""

PIECE_FRAMES = 4 * BLOCK_FRAMES
"""Frames of one piece of a waveform that `mel_codes` hands to its stream."""


def mel_codes(waveform: Tensor, num_samples: Tensor, config: DMelConfig) -> Tensor:
    """Return the level of each mel channel in each frame.

    Utterances are computed one by one, so neighbours in a batch have no influence; samples past
    `num_samples` count as zero, whatever they hold. Frames past the end of an utterance are 0.

    Args:
        waveform: `(batch, samples)`, float32 or float64, in [-1, 1].
        num_samples: `(batch,)`, int64, at least 1: the valid samples of each utterance.
        config: which window, filters and grid.

    Returns:
        `(batch, channels, frames)`, int64, in [0, `num_levels`), where `frames` is that of the longest
        utterance, `ceil(max(num_samples) / hop_length)`.

    Raises:
        ValueError: a shape or type is wrong, or a length is outside 1 to `samples`.

    Source:
        Bai et al. 2024, dMel, arXiv:2407.15835.
    """
    lengths = _check_batch(waveform, num_samples)
    hop = config.hop_length
    width = max((-(-length // hop) for length in lengths), default=0)
    codes = torch.zeros((len(lengths), config.num_channels, width), dtype=torch.int64, device=waveform.device)
    for utterance, row, length in zip(waveform, codes, lengths, strict=True):
        stream = MelCodeStream(config, dtype=waveform.dtype, device=waveform.device)
        position = 0
        for piece in utterance[:length].split(PIECE_FRAMES * hop):
            done = stream.push(piece)
            row[:, position : position + done.shape[1]] = done
            position += done.shape[1]
        row[:, position : -(-length // hop)] = stream.finish()
    return codes


class MelCodeStream:
    """Turns a waveform that arrives in pieces into the codes of the whole, in constant memory.

    Codes come out a block of `BLOCK_FRAMES` at a time and equal those of `mel_codes` bit for bit,
    however the waveform is cut. After `finish` the stream is at the beginning of a new utterance.

    Args:
        config: which window, filters and grid.
        dtype: float32 or float64, of the waveform and of the arithmetic.
        device: where the waveform lies.
        at_once: whether a frame comes out as soon as its window is there; its whole block is computed for it.
    """

    def __init__(
        self,
        config: DMelConfig,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        at_once: bool = False,
    ) -> None:
        self.config = config
        self._at_once = at_once
        self._overlap = config.window_length - config.hop_length
        self._buffer = torch.zeros(
            BLOCK_FRAMES * config.hop_length + self._overlap, dtype=dtype, device=device
        )
        self._filled = self._samples_in = self._frames_out = self._given = 0
        self._restart()

    def push(self, waveform: Tensor) -> Tensor:
        """Return the codes of the blocks that these samples complete, or of the frames.

        Args:
            waveform: `(samples,)`, any number of samples that follow those pushed before.

        Returns:
            `(channels, frames)`, int64; often no frame.

        Raises:
            ValueError: `waveform` has more than one axis.
        """
        if waveform.ndim != 1:
            raise ValueError(
                f"`waveform` must have shape (samples,), but has {tuple(waveform.shape)}. "
                "Push one channel of one utterance."
            )
        blocks = [self._no_frames()]
        while len(waveform) >= (room := len(self._buffer) - self._filled):
            self._buffer[self._filled :] = waveform[:room]
            waveform = waveform[room:]
            blocks.append(block_codes(self._buffer, self.config)[:, self._given :])
            self._given = 0
            self._buffer[: self._overlap] = self._buffer[len(self._buffer) - self._overlap :].clone()
            self._filled = self._overlap
            self._frames_out += BLOCK_FRAMES
            self._samples_in += room
        self._buffer[self._filled : self._filled + len(waveform)] = waveform
        self._filled += len(waveform)
        self._samples_in += len(waveform)
        whole = (self._filled - self._overlap) // self.config.hop_length
        if self._at_once and whole > self._given:
            blocks.append(block_codes(self._buffer, self.config)[:, self._given : whole])
            self._given = whole
        return torch.cat(blocks, dim=1)

    def finish(self) -> Tensor:
        """Return the codes of the last frames, whose windows reach past the end.

        Returns:
            `(channels, frames)`, int64. All codes of the utterance together have
            `ceil(samples pushed / hop_length)` frames.
        """
        blocks = [self._no_frames()]
        missing = -(-self._samples_in // self.config.hop_length) - self._frames_out
        while missing > 0:
            frames = min(missing, BLOCK_FRAMES)
            end = frames * self.config.hop_length + self._overlap
            self._buffer[self._filled : end] = 0
            blocks.append(block_codes(self._buffer[:end], self.config)[:, self._given :])
            self._given = 0
            self._buffer[: self._overlap] = self._buffer[end - self._overlap : end].clone()
            self._filled = self._overlap
            missing -= frames
        self._restart()
        return torch.cat(blocks, dim=1)

    def _restart(self) -> None:
        self._filled = self._overlap // 2  # the first window begins this far before the utterance
        self._buffer[: self._filled] = 0
        self._samples_in = 0
        self._frames_out = 0  # in whole blocks
        self._given = 0  # frames of the block at hand

    def _no_frames(self) -> Tensor:
        return torch.zeros((self.config.num_channels, 0), dtype=torch.int64, device=self._buffer.device)


@torch.no_grad()
def block_codes(samples: Tensor, config: DMelConfig) -> Tensor:
    """Return the codes of every whole window in a stretch of samples.

    Args:
        samples: `(samples,)`, beginning where the first frame's window begins.
        config: which window, filters and grid.

    Returns:
        `(channels, frames)`, int64, in [0, `num_levels`).
    """
    window, filters, edges = _tables(config, samples.dtype, samples.device)
    spectrum = spectra(samples, window, config.hop_length, fft_length=config.fft_length)  # (frames, bins)
    return torch.bucketize(magnitude(spectrum) @ filters, edges, right=True).T  # (channels, frames)


@lru_cache(maxsize=8)
def _tables(config: DMelConfig, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    tables = hann_window(config.window_length), mel_filters(config, config.fft_length), level_edges(config)
    window, filters, edges = (table.to(device, dtype) for table in tables)
    return window, filters, edges


def _check_batch(waveform: Tensor, num_samples: Tensor) -> list[int]:
    if waveform.ndim != 2 or waveform.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            "`waveform` must have shape (batch, samples) and type float32 or float64, but has "
            f"{tuple(waveform.shape)} and {waveform.dtype}. Convert it first."
        )
    lengths: list[int] = num_samples.tolist()
    if len(lengths) != len(waveform) or not all(1 <= length <= waveform.shape[1] for length in lengths):
        raise ValueError(
            f"`num_samples` must hold {len(waveform)} lengths from 1 to {waveform.shape[1]}, "
            f"but is {lengths}. Give the number of valid samples of each utterance."
        )
    return lengths
