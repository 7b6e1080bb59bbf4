"""Is it the same voice? Cosine of speaker vectors from any x-vector model of transformers.

Source: Snyder et al. 2018, X-vectors, ICASSP; such as Chen et al. 2022, WavLM, arXiv:2110.13900 (`microsoft/wavlm-base-plus-sv`).

Contents: `speaker_similarity`, `SpeakerModel`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from speechtok.audio.resample import resample
from speechtok.errors import AudioError, HubError
from speechtok.metrics.models import require_plain_config

Samples = np.ndarray[Any, np.dtype[np.float64]]
Vector = np.ndarray[Any, np.dtype[np.float64]]


def speaker_similarity(reference: Vector, decoded: Vector) -> float:
    """Return the cosine of two `(channels,)` speaker vectors, from -1 to 1.

    Raises:
        AudioError: when one of them is zero or not finite.
    """
    norms = float(np.linalg.norm(reference)), float(np.linalg.norm(decoded))
    if not all(np.isfinite(norms)) or 0 in norms:
        raise AudioError("Speaker similarity is undefined: a speaker vector is zero or not finite.")
    return float(reference @ decoded / (norms[0] * norms[1]))


class SpeakerModel:
    """Speech to a speaker vector.

    Args:
        model: Hub repository or local folder of an x-vector model; no code of the repository is run.
        device: where it runs.

    Raises:
        HubError: when the model cannot be loaded.
        ImportError: when transformers is not installed.
    """

    def __init__(self, model: str, *, device: str = "cpu") -> None:
        from transformers import AutoFeatureExtractor, AutoModelForAudioXVector

        try:
            require_plain_config(model)
            self._extractor: Any = AutoFeatureExtractor.from_pretrained(model, trust_remote_code=False)  # type: ignore[no-untyped-call]
            network: Any = AutoModelForAudioXVector.from_pretrained(model, trust_remote_code=False)
            self._network: Any = network.to(device).eval()
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).strip().splitlines()[0]
            raise HubError(f"The speaker model '{model}' cannot be loaded: {reason}") from error
        self._device = device

    def __call__(self, samples: Samples, sample_rate: int) -> Vector:
        """Return the vector of `(samples,)`, `(channels,)`.

        Raises:
            AudioError: when the audio is too short for the network.
        """
        import torch

        rate = int(self._extractor.sampling_rate)
        audio = resample(samples.astype(np.float32), sample_rate, rate)
        inputs = self._extractor(audio, sampling_rate=rate, return_tensors="pt").to(self._device)
        try:
            with torch.inference_mode():
                vector = self._network(**inputs).embeddings[0]
        except (RuntimeError, ValueError) as error:
            raise AudioError(
                f"{len(samples) / sample_rate:.3f} s is too short for a speaker vector."
            ) from error
        return np.asarray(vector.double().cpu().numpy())
