"""Turn everything `encode` accepts into one checked, padded batch."""

from __future__ import annotations

import reprlib
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechtok.audio.io import read_waveform
from speechtok.audio.resample import resample as resample_array
from speechtok.errors import AudioError
from speechtok.storage import StorePath

LOUDEST = 16.0
"""Peak beyond which float samples are no longer taken for speech in [-1, 1], however loud: 24 dB."""


@dataclass(frozen=True, kw_only=True)
class WaveformBatch:
    """Waveforms of unequal length, padded with zeros."""

    waveform: Tensor
    """`(batch, samples)`, float, zero past `num_samples`; with the gradient of float tensors that were not resampled."""
    num_samples: Tensor
    """`(batch,)`, int64."""


def to_batch(
    waveform: Any,
    num_samples: Any,
    *,
    sample_rate: int | None,
    resample: bool,
    target_rate: int,
    device: torch.device,
    dtype: torch.dtype,
) -> WaveformBatch:
    """Return what `SpeechTokenizer.encode` was given as a batch at `target_rate`.

    Args:
        waveform: see `SpeechTokenizer.encode`.
        num_samples: `(batch,)` valid samples of a padded 2-D `waveform`, or None for all.
        sample_rate: rate of `waveform` in Hz; None means `target_rate`, or the rate the input states.
        resample: whether audio at another rate is converted; otherwise it is refused.
        target_rate: rate of the tokenizer, in Hz.
        device: where the batch is put.
        dtype: float type of the batch.

    Raises:
        AudioError: for stereo, empty or non-finite audio, or another rate without `resample`.
        TypeError: for objects or number types that are not audio.
        ValueError: when `num_samples` does not fit `waveform`.
    """
    if isinstance(waveform, Tensor | np.ndarray) and waveform.ndim == 2:
        rows = _rows(waveform, num_samples)
    elif (
        isinstance(waveform, Sequence) and not isinstance(waveform, str | bytes) and not _is_numbers(waveform)
    ):
        rows = list(waveform)
        if num_samples is not None:
            raise ValueError("`num_samples` goes with a padded 2-D `waveform`, not with a list.")
    else:
        rows = [waveform]
        if num_samples is not None:
            array = _as_array(waveform)
            if array.ndim != 1:
                raise AudioError(
                    f"`waveform` must be (samples,) or (batch, samples), got {tuple(array.shape)}."
                )
            rows = _rows(array[None], num_samples)
    if not rows:
        raise AudioError("`waveform` holds no utterance.")
    peaks: list[float] = []
    items = [
        _one(
            row,
            index,
            len(rows),
            sample_rate=sample_rate,
            resample=resample,
            target_rate=target_rate,
            device=device,
            dtype=dtype,
            peaks=peaks,
        )
        for index, row in enumerate(rows)
    ]
    if max(peaks) > LOUDEST:
        warnings.warn(
            f"`waveform` has float samples of up to {max(peaks):g}, but 1 is full scale, so the codes will not mean the "
            "speech; divide samples in the scale of int16 by 32768, or pass them as int16.",
            stacklevel=4,
        )
    lengths = torch.tensor([len(item) for item in items], dtype=torch.int64, device=device)
    return WaveformBatch(
        waveform=torch.nn.utils.rnn.pad_sequence(items, batch_first=True), num_samples=lengths
    )


def other_rate(which: str, rate: int, target_rate: int) -> str:
    """Return the sentence for audio at a rate that was not asked to be converted."""
    return f"{which} is at {rate} Hz, but the tokenizer reads {target_rate} Hz; pass resample=True to convert it."


def _one(
    item: Any,
    index: int,
    batch: int,
    *,
    sample_rate: int | None,
    resample: bool,
    target_rate: int,
    device: torch.device,
    dtype: torch.dtype,
    peaks: list[float],
) -> Tensor:
    which = "`waveform`" if batch == 1 else f"Utterance {index} of `waveform`"
    if isinstance(item, str | PathLike | StorePath):
        which = str(item)
        loaded = read_waveform(which, channels="error")
        item, rate = loaded.samples, loaded.sample_rate
    elif isinstance(item, Mapping):
        item, rate = _from_mapping(item, which)
    elif is_decoded(item):
        item, rate = _from_decoded(item, which)
    else:
        rate = target_rate if sample_rate is None else sample_rate
    array = _as_array(item)
    if array.ndim != 1:
        raise AudioError(
            f"{which} must be mono, of shape (samples,), got {tuple(array.shape)}; average the channels first."
        )
    if array.shape[0] == 0:
        raise AudioError(f"{which} is empty: it holds no sample.")
    if rate != target_rate and not resample:
        raise AudioError(other_rate(which, rate, target_rate))
    if isinstance(array, np.ndarray):
        array = torch.from_numpy(_owned(array))
    if array.dtype == torch.int16:
        array = array.to(dtype) / 32_768
    elif not array.is_floating_point():
        raise TypeError(f"{which} must be float in [-1, 1] or int16, got {array.dtype}.")
    if not is_finite(array):
        raise AudioError(f"{which} holds NaN or infinite samples.")
    peaks.append(float(torch.stack(torch.aminmax(array.detach())).abs().max()))
    if rate != target_rate:
        samples = array.detach().to("cpu", torch.promote_types(array.dtype, torch.float32))
        array = torch.from_numpy(resample_array(samples.numpy(), rate, target_rate))
    waveform: Tensor = array.to(device=device, dtype=dtype)
    return waveform


def is_finite(array: Tensor) -> bool:
    """Return whether there is neither NaN nor infinity; NumPy looks ten times as fast as torch."""
    if array.device.type != "cpu" or array.dtype == torch.bfloat16:
        return bool(torch.isfinite(array).all())
    return bool(np.isfinite(array.detach().numpy()).all())


def _owned(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return what torch takes without a copy or a warning: contiguous, writable, in native byte order."""
    return np.require(array, dtype=array.dtype.newbyteorder("="), requirements=["C", "W"])


def _rows(waveform: Any, num_samples: Any) -> list[Any]:
    batch, samples = waveform.shape
    if samples <= 8 < batch:
        raise AudioError(
            f"`waveform` has shape {tuple(waveform.shape)}, which looks like (samples, channels); "
            "it must be mono, (samples,) or (batch, samples)."
        )
    if num_samples is None:
        return list(waveform)
    try:
        given = list(num_samples)
        lengths = [int(value) for value in given]
        fits = len(lengths) == batch and all(
            0 <= length <= samples and bool(length == value)
            for length, value in zip(lengths, given, strict=True)
        )
    except (TypeError, ValueError, OverflowError, RuntimeError):  # no list, or none of numbers
        fits = False
    if not fits:
        raise ValueError(
            f"`num_samples` must hold {batch} lengths in [0, {samples}], got {reprlib.repr(num_samples)}."
        )
    return [row[:length] for row, length in zip(waveform, lengths, strict=True)]


def is_decoded(item: Any) -> bool:
    """Return whether an object is audio as torchcodec, and `datasets` from version 4, hand it out.

    Either a decoder with `get_all_samples()`, or its result with `data` `(channels, samples)` and `sample_rate`.
    """
    return hasattr(item, "get_all_samples") or (hasattr(item, "data") and hasattr(item, "sample_rate"))


def _from_decoded(item: Any, which: str) -> tuple[Any, int]:
    found = item.get_all_samples() if hasattr(item, "get_all_samples") else item
    samples = found.data
    if samples.ndim == 2 and len(samples) != 1:
        raise AudioError(
            f"{which} must be mono, but has {len(samples)} channels; average the channels first."
        )
    return samples[0] if samples.ndim == 2 else samples, int(found.sample_rate)


def _from_mapping(item: Mapping[str, Any], which: str) -> tuple[Any, int]:
    """Read a Hugging Face audio dictionary: `array` with `sampling_rate`, `bytes`, or `path`.

    A row with `bytes` names the file in its `path` that they came from, which need not be here any more.
    """
    path = item.get("path")
    if item.get("array") is not None and item.get("sampling_rate"):
        return item["array"], int(item["sampling_rate"])
    if item.get("bytes") is not None:
        return _from_bytes(item["bytes"], which if path is None else f"{which} ('{path}')")
    if path and "bytes" in item and not Path(path).is_absolute():
        raise AudioError(
            f"{which} has no bytes, and its path '{path}' does not say below which folder the file lies; "
            "join it with that folder."
        )
    if path:
        loaded = read_waveform(path, channels="error")
        return loaded.samples, loaded.sample_rate
    raise TypeError(
        f"{which} must hold `array` and `sampling_rate`, `bytes`, or `path`, as a Hugging Face audio dictionary does."
    )


def _from_bytes(content: Any, which: str) -> tuple[Any, int]:
    """Read the bytes of a sound file."""
    if not isinstance(content, bytes | bytearray | memoryview):
        raise TypeError(f"{which} must hold `bytes` of a sound file, got {type(content).__name__}.")
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        try:
            loaded = read_waveform(file.name, channels="error")
        except AudioError as error:
            raise AudioError(str(error).replace(f"'{file.name}'", which).replace(file.name, which)) from error
    return loaded.samples, loaded.sample_rate


def _as_array(item: Any) -> Any:
    if isinstance(item, Tensor | np.ndarray):
        return item
    if _is_numbers(item):
        return np.asarray(item, dtype=np.float64)
    raise TypeError(
        "`waveform` must be a tensor, an array, a list of them, an audio dictionary, an AudioDecoder or a path, "
        f"got {type(item).__name__}."
    )


def _is_numbers(item: Any) -> bool:
    """Plain Python lists of numbers are one waveform, as `datasets` returns them without a format."""
    return (
        isinstance(item, Sequence)
        and not isinstance(item, str | bytes)
        and bool(item)
        and isinstance(item[0], int | float)
    )
