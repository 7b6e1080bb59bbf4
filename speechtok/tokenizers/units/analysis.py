"""What `encode` does: units and pitch codes of a batch.

Contents: `content`, `pitch_codes`, `statistics`, `leveled`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from speechtok.audio.pitch import PEAK, extract_pitch, fill_gaps
from speechtok.tokenizers.units.components import Components
from speechtok.tokenizers.units.config import UnitConfig
from speechtok.tokenizers.units.hubert import Hubert
from speechtok.tokenizers.units.jukebox import F0VqVae
from speechtok.tokenizers.units.pitch import normalize_pitch
from speechtok.tokenizers.units.segments import plan_reference_segments, plan_segments

WHOLE_SECONDS, REFERENCE_SECONDS = 60.0, 100.0
"""Longest audio that goes through attention at once; what the published quantizers cut at."""


def content(
    parts: Components,
    waveform: Tensor,
    num_samples: Tensor,
    *,
    seconds: float | None,
    chunk: str,
    rate: int,
    padding: int = 0,
) -> list[Tensor]:
    """Return the units of each utterance.

    Args:
        parts: the networks.
        waveform: `(batch, samples)`.
        num_samples: `(batch,)`, int64.
        seconds: longest piece, in seconds; None takes the default of the kind of cut.
        chunk: "silence", "reference" or "never", see `UnitTokenizer`.
        rate: samples per second.
        padding: samples of silence on each side of an utterance, before it is cut.

    Returns:
        One `(frames,)` int64 tensor per utterance.

    Raises:
        ValueError: for another `chunk`.
    """
    if chunk not in ("silence", "reference", "never"):
        raise ValueError(f"`chunk` must be 'silence', 'reference' or 'never', got '{chunk}'.")
    default = REFERENCE_SECONDS if chunk == "reference" else WHOLE_SECONDS
    if padding:
        inside = torch.arange(waveform.shape[1], device=waveform.device) < num_samples[:, None]
        waveform = functional.pad(waveform * inside, (padding, padding))
        num_samples = num_samples + 2 * padding
    longest = max(parts.reader.min_samples, round((seconds or default) * rate))
    lengths = num_samples.tolist()
    if chunk == "never" or not isinstance(parts.reader, Hubert) or max(lengths) <= longest:
        return _units(parts, waveform, num_samples)
    reader, rows = parts.reader, []
    for item, samples in zip(waveform, lengths, strict=True):
        own = item[:samples]
        if chunk == "reference":
            segments = plan_reference_segments(samples, longest=longest, reach=reader.min_samples)
        else:
            segments = plan_segments(own, longest=longest, hop=reader.hop_length, reach=reader.min_samples)
        pieces = [own[None, segment.start : segment.stop] for segment in segments]
        rows.append(
            torch.cat([_units(parts, piece, num_samples.new_tensor([piece.shape[1]]))[0] for piece in pieces])
        )
    return rows


def pitch_codes(f0: F0VqVae, config: UnitConfig, waveform: Tensor, speaker: int | None) -> Tensor:
    """Return the pitch codes `(codes,)` of `(samples,)` audio that has been cut to whole units.

    Args:
        f0: the quantizer.
        config: where pitch statistics are; without any for the speaker or over all, the utterance's own serve.
        waveform: `(samples,)`, any level.
        speaker: index in the statistics, or None.
    """
    hop = f0.settings.hop_length
    contour = extract_pitch(waveform.detach().cpu().double().numpy())
    codes = len(waveform) // (hop * 80)
    contour = contour[: codes * hop]
    if not codes:
        return torch.zeros(0, dtype=torch.int64, device=waveform.device)
    voiced, mean, std = contour[contour > 0], 0.0, 1.0
    known = statistics(config, speaker) if config.f0_normalize else (mean, std)
    if config.f0_unvoiced == "curve":
        contour = fill_gaps(contour)
    if known is not None:
        mean, std = known
    elif len(voiced):
        mean, std = float(voiced.mean()), float(voiced.std()) or 1.0
    # Silence has no median; its frames stay 0.
    fill = config.f0_unvoiced == "median" and len(voiced) > 0
    normal = np.ascontiguousarray(normalize_pitch(contour, mean, std, fill_unvoiced=fill))
    vectors = f0.vq.vectors
    return f0.encode(torch.from_numpy(normal)[None].to(vectors.device, vectors.dtype))[0]


def statistics(config: UnitConfig, speaker: int | None) -> tuple[float, float] | None:
    """Return mean and deviation of pitch of a speaker, or over all, in Hz; None where neither is known."""
    if speaker in config.f0_speakers:
        mean, std = config.f0_speakers[speaker]
        return mean, std
    if config.f0_mean_hz is None or config.f0_std_hz is None:
        return None
    return config.f0_mean_hz, config.f0_std_hz


def leveled(waveform: Tensor, num_samples: Tensor) -> Tensor:
    """Return each utterance `(batch, samples)` with its peak at 0.95, silent ones as they are."""
    inside = torch.arange(waveform.shape[1], device=waveform.device) < num_samples[:, None]
    peak = (waveform * inside).abs().amax(dim=1, keepdim=True)
    return waveform * torch.where(peak > 0, PEAK / peak.clamp(min=torch.finfo(peak.dtype).tiny), 1.0)


def _units(parts: Components, waveform: Tensor, num_samples: Tensor) -> list[Tensor]:
    if (
        waveform.device.type == "cpu" and len(waveform) > 1
    ):  # where padding costs time, and company saves none
        rows = zip(waveform, num_samples, strict=True)
        return [_units(parts, row[None, : int(samples)], samples[None])[0] for row, samples in rows]
    features: Tensor = parts.reader(waveform, num_samples)
    units = features if parts.kmeans is None else parts.kmeans(features)
    frames = [parts.reader.num_frames(samples) for samples in num_samples.tolist()]
    return [row[:count] for row, count in zip(units, frames, strict=True)]
