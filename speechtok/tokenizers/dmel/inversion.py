"""Synthesis: levels of a mel spectrum to a waveform, in blocks of bounded memory.

Nothing is learnt. Levels become mel values, which a cubic interpolates from 50 to 200 frames per
second; then the fast Griffin-Lim algorithm looks for a waveform with those mel values. It differs from
the textbook in one step: where Griffin-Lim imposes the magnitude of every Fourier bin, here each bin is
scaled by the ratio of wanted to present *mel* value, interpolated between channels. Codes say nothing
about the bins inside a channel, so these stay free to agree with their neighbours in time.

Conventions:
    - Synthesis frame `j` is centred on the middle of samples `[j * hop, (j + 1) * hop)` of the synthesis
      hop. With `r` of them to a frame of codes, the middle of code frame `t` is `(t + 0.5) * r`.
    - A block of `BLOCK_FRAMES` frames is decoded together with `CONTEXT_FRAMES` on either side. The
      waveform on the left is already final and stays fixed while the phase is sought, so that the
      block continues it without a join; what is decoded on the right is dropped and decoded again.
    - The phase starts from a fixed rule: results are deterministic, and utterances of a batch are
      decoded one by one, so neighbours have no influence.

Contents:
    `codes_to_waveform`, `decode_block`; of what they are made: `mel_magnitudes`, `transform_tables`, `ShortTimeTransform`.

Source:
    Griffin & Lim 1984, Signal estimation from modified short-time Fourier transform, IEEE TASSP 32(2).
    Perraudin, Balazs & Søndergaard 2013, A fast Griffin-Lim algorithm, WASPAA, Algorithm 2.
    Beauregard, Harish & Wyse 2015, Single pass spectrogram inversion, IEEE DSP: the initial phase.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from speechtok.nets.spectrum import magnitude as magnitude_of
from speechtok.nets.spectrum import spectra
from speechtok.tokenizers.dmel.config import DMelConfig
from speechtok.tokenizers.dmel.scales import hann_window, level_values_db, mel_filters

BLOCK_FRAMES = 256
"""Code frames that become final at a time."""

CONTEXT_FRAMES = 8
"""Code frames decoded along on either side of a block."""

FLOOR = 1e-12
"""Smallest divisor, far below the magnitude that any level stands for."""


def codes_to_waveform(
    codes: Tensor, num_samples: Tensor, config: DMelConfig, *, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return a waveform whose mel spectrum falls into the given levels.

    The waveform may exceed [-1, 1] slightly where speech is as loud as the format allows.

    Args:
        codes: `(batch, channels, frames)`, int64, in [0, `num_levels`). Frames past the end of an
            utterance are ignored.
        num_samples: `(batch,)`, int64, at least 1: the samples of each utterance, at most `frames`
            times `hop_length`.
        config: the configuration that made the codes.
        dtype: float32 or float64, of the result and of the arithmetic.

    Returns:
        `(batch, samples)`, where `samples` is `max(num_samples)`; zero past the end of each utterance.

    Raises:
        ValueError: shapes, lengths or codes do not fit the configuration.

    Source:
        Perraudin et al. 2013, A fast Griffin-Lim algorithm, Algorithm 2; the projection on mel values
        instead of magnitudes is described at the top of this module.
    """
    lengths = _check_codes(codes, num_samples, config)
    waveform = torch.zeros((len(lengths), max(lengths, default=0)), dtype=dtype, device=codes.device)
    for utterance, row, length in zip(codes, waveform, lengths, strict=True):
        num_frames = -(-length // config.hop_length)
        for start in range(0, num_frames, BLOCK_FRAMES):
            first, known = max(0, start - CONTEXT_FRAMES), min(start, CONTEXT_FRAMES) * config.hop_length
            stop = min(start + BLOCK_FRAMES, num_frames)
            last = min(stop + CONTEXT_FRAMES, num_frames)
            begin = first * config.hop_length
            block = decode_block(utterance[:, :num_frames], first, last, row[begin : begin + known], config)
            end = min(stop * config.hop_length, length)
            row[begin + known : end] = block[known : end - begin]
    return waveform


@torch.no_grad()
def decode_block(codes: Tensor, first: int, last: int, known: Tensor, config: DMelConfig) -> Tensor:
    """Return the waveform of a range of frames that continues known samples.

    Args:
        codes: `(channels, frames)`, int64, of the whole utterance.
        first: the first frame of the range.
        last: the frame after the range.
        known: `(samples,)`, the waveform at the beginning of the range, possibly empty; its type is
            that of the arithmetic.
        config: the configuration that made the codes.

    Returns:
        `(samples,)`, `(last - first) * hop_length` of them; those `known` come back unchanged.
    """
    tables = transform_tables(config, known.dtype, known.device)
    mel = mel_magnitudes(codes, first, last, tables, config)  # (frames, channels)
    stft = ShortTimeTransform(len(mel), tables.window, config.synthesis_hop_length)

    def continued(spectrum: Tensor) -> Tensor:
        waveform = stft.inverse(spectrum)
        waveform[: len(known)] = known
        return waveform

    magnitude = (mel / tables.filters.sum(0)) @ tables.spread  # (frames, bins)
    spectrum = torch.polar(magnitude, _initial_phase(magnitude, known, stft, config))
    before = torch.zeros_like(spectrum)
    for step in range(config.griffin_lim_iterations):
        now = stft.forward(continued(spectrum))  # consistent: the transform of a waveform
        momentum = config.griffin_lim_momentum if step else 0.0
        spectrum = torch.lerp(before, now, 1 + momentum)
        before = now
        present = magnitude_of(spectrum) @ tables.filters  # (frames, channels)
        spectrum *= (mel / present.clamp_(min=FLOOR)) @ tables.spread
    return continued(spectrum)


class Tables(NamedTuple):
    """What the transforms need, made once for a configuration."""

    window: Tensor  # (window,)
    filters: Tensor  # (bins, channels), mel filters
    spread: Tensor  # (channels, bins), interpolates from channels to bins; columns sum to 1
    magnitudes_db: Tensor  # (levels,)


@lru_cache(maxsize=8)
def transform_tables(config: DMelConfig, dtype: torch.dtype, device: torch.device) -> Tables:
    """Return what the transforms of a configuration need."""
    window = hann_window(config.synthesis_window_length)
    filters = mel_filters(config, config.synthesis_window_length)
    spread = (filters / filters.sum(1, keepdim=True).clamp(min=1e-3)).T
    # A window of another length changes the number of bins in a filter and, for noise, their magnitude.
    count = mel_filters(config, config.fft_length).sum(0) / filters.sum(0)
    filters = filters * count * math.sqrt(config.synthesis_window_length / config.window_length)
    tables = window, filters, spread, level_values_db(config)
    return Tables(*(table.to(device, dtype) for table in tables))


def mel_magnitudes(codes: Tensor, first: int, last: int, tables: Tables, config: DMelConfig) -> Tensor:
    """Return mel magnitudes at the synthesis rate, `(synthesis frames, channels)`.

    A Catmull-Rom cubic passes through the levels' values in dB at the middle of each code frame.
    """
    ratio = config.hop_length // config.synthesis_hop_length
    position = torch.arange(first * ratio, last * ratio, device=codes.device, dtype=torch.float64)
    position = (position + 0.5) / ratio - 0.5
    left = position.floor()
    x = (position - left).to(tables.magnitudes_db.dtype)[:, None]
    index = left.to(torch.int64)
    a, b, c, d = (
        tables.magnitudes_db[codes[:, (index + shift).clamp(0, codes.shape[1] - 1)]].T
        for shift in (-1, 0, 1, 2)
    )
    decibels = b + x / 2 * (c - a + x * (2 * a - 5 * b + 4 * c - d + x * (3 * (b - c) + d - a)))
    return torch.pow(10.0, decibels / 20)


def _initial_phase(
    magnitude: Tensor, known: Tensor, stft: "ShortTimeTransform", config: DMelConfig
) -> Tensor:
    """Return phases that advance, in each bin, at the frequency of the nearest spectral peak.

    After Beauregard et al. 2015, Section 3, with the sum over frames taken for all bins at once. The
    phase is zero in the middle of the first frame, or continues that of the known samples.
    """
    num_bins = magnitude.shape[1]
    bins = torch.arange(num_bins, device=magnitude.device, dtype=magnitude.dtype)
    log = magnitude.clamp(min=FLOOR).log()
    below = torch.cat([log[:, :1], log[:, :-1]], dim=1)
    above = torch.cat([log[:, 1:], log[:, -1:]], dim=1)
    is_peak = (log >= below) & (log > above)
    curvature = (below - 2 * log + above).clamp(max=-1e-6)
    summit = bins + ((below - above) / 2 / curvature).clamp(-0.5, 0.5)  # of a parabola through three bins
    lower = torch.where(is_peak, bins, -math.inf).cummax(1).values
    upper = torch.where(is_peak, bins, math.inf).flip(1).cummin(1).values.flip(1)
    nearest = torch.where(bins - lower <= upper - bins, lower, upper).clamp(0, num_bins - 1)
    turns = summit.gather(1, nearest.to(torch.int64)) * (
        config.synthesis_hop_length / config.synthesis_window_length
    )
    phase = turns.to(torch.float64).cumsum(0) * (2 * math.pi)
    frame, start = 0, -math.pi * bins[None]
    if len(known):
        frame = max(0, (len(known) - stft.margin) // config.synthesis_hop_length - 1)  # the last fully known
        start = stft.forward(known, first=frame, last=frame + 1).angle()
    return (phase - phase[frame] + start).remainder(2 * math.pi).to(magnitude.dtype)


class ShortTimeTransform:
    """The short-time Fourier transform of a stretch of samples, and its least-squares inverse."""

    def __init__(self, num_frames: int, window: Tensor, hop_length: int) -> None:
        self.window, self.hop_length, self.num_frames = window, hop_length, num_frames
        self.margin = (len(window) - hop_length) // 2  # samples that a frame reaches past its hop
        weight = self._overlap_add(window.square().expand(num_frames, -1))
        self._weight = weight.clamp_(min=1e-2 * float(window.square().sum()) / hop_length)

    def forward(self, waveform: Tensor, first: int = 0, last: int | None = None) -> Tensor:
        """Return the spectrum `(frames, bins)` of `(samples,)`, which are zero outside."""
        padded = torch.nn.functional.pad(waveform, (self.margin, self.margin))
        last = self.num_frames if last is None else last
        stop = (last - 1) * self.hop_length + len(self.window)
        return spectra(padded[first * self.hop_length : stop], self.window, self.hop_length)

    def inverse(self, spectrum: Tensor) -> Tensor:
        """Return the samples whose transform is nearest to a spectrum `(frames, bins)`."""
        frames = torch.fft.irfft(spectrum, n=len(self.window))
        return self._overlap_add(frames.mul_(self.window)).div_(self._weight)

    def _overlap_add(self, frames: Tensor) -> Tensor:
        hop, count = self.hop_length, -(-frames.shape[1] // self.hop_length)
        frames = torch.nn.functional.pad(frames, (0, count * hop - frames.shape[1]))
        total = frames.new_zeros(self.num_frames + count - 1, hop)
        for part, shifted in enumerate(frames.reshape(-1, count, hop).unbind(1)):
            total[part : part + self.num_frames] += shifted
        return total.flatten()[self.margin : self.margin + self.num_frames * hop]


def _check_codes(codes: Tensor, num_samples: Tensor, config: DMelConfig) -> list[int]:
    if codes.ndim != 3 or codes.shape[1] != config.num_channels or codes.dtype != torch.int64:
        raise ValueError(
            f"`codes` must have shape (batch, {config.num_channels}, frames) and type int64, but has "
            f"{tuple(codes.shape)} and {codes.dtype}. Give all mel channels of the tokenizer's codes."
        )
    if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < config.num_levels:
        raise ValueError(
            f"`codes` must be from 0 to {config.num_levels - 1}, but range from {int(codes.min())} to "
            f"{int(codes.max())}. Decode with the configuration that made them."
        )
    most = codes.shape[2] * config.hop_length
    lengths: list[int] = num_samples.tolist()
    if len(lengths) != len(codes) or not all(1 <= length <= most for length in lengths):
        raise ValueError(
            f"`num_samples` must hold {len(codes)} lengths from 1 to {most}, the samples of "
            f"{codes.shape[2]} frames, but is {lengths}. Give the lengths that were encoded."
        )
    return lengths
