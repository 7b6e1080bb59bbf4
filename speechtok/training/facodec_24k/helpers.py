"""Frozen helpers: from audio to what the parts of FAcodec must tell.

Sources: Baevski et al. 2020, wav2vec 2.0, arXiv:2006.11477, and Xu et al. 2021, arXiv:2109.11680 (phones of any
language); Kum and Nam 2019 (F0, see `pitch_network`); Zahorian and Hu 2008 (F0, see `audio.yaapt`).

Conventions: audio is `(samples,)` float32 at the codec's rate; targets have one value for each whole frame of 300 samples.
Each utterance is seen as a whole, and alone.

Contents: `Contents`, `UnitContents`, `PhoneContents`, `Pitches`, `YaaptPitches`, `NetworkPitches`, `mel_vector`,
`SpeakerClassifier`, `target_mel`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch.nn import functional

from speechtok.audio.pitch import extract_pitch
from speechtok.audio.resample import resample
from speechtok.checkpoints.read import check_entries, read_state_dict
from speechtok.errors import AudioError, CardError, HubError, JobError
from speechtok.loading import load_tokenizer
from speechtok.metrics.models import require_plain_config
from speechtok.tokenizers.facodec_24k.config import Facodec24kConfig
from speechtok.tokenizers.units.tokenizer import UnitTokenizer
from speechtok.training.facodec_24k.pitch_network import UNUSED, PitchNetwork
from speechtok.training.facodec_24k.targets import TargetMel

Array = np.ndarray[Any, np.dtype[Any]]

PHONES = "facebook/wav2vec2-xlsr-53-espeak-cv-ft"
"""The published model of phones."""
_PITCH_RATE, _PITCH_HOP = 16_000, 80
_SPEECH_DB = 40.0
"""Frames quieter than the loudest by more than this are no speech."""


class Contents(Protocol):
    """Says what is spoken."""

    num_classes: int
    """Number of classes."""

    def __call__(self, samples: Array, num_frames: int) -> Array:
        """Return `(frames,)` classes."""
        ...


class Pitches(Protocol):
    """Says how high speech is."""

    def __call__(self, samples: Array, num_frames: int) -> Array:
        """Return `(frames,)`, Hz; 0 where unvoiced."""
        ...


class UnitContents:
    """Units of a tokenizer, each stretched over the frames nearest to it.

    Raises:
        CardError: when the tokenizer has no units.
    """

    def __init__(self, config: Facodec24kConfig, source: str | Path) -> None:
        loaded = load_tokenizer(source)
        if not isinstance(loaded, UnitTokenizer):
            raise CardError(f"'{loaded.name}' is no tokenizer of units, so it cannot say what content is.")
        self.tokenizer, self.rate = loaded, config.sample_rate
        self.num_classes = loaded.config.num_units

    def __call__(self, samples: Array, num_frames: int) -> Array:
        """Return `(frames,)` units."""
        audio = torch.from_numpy(resample(samples, self.rate, self.tokenizer.sample_rate))
        tokens = self.tokenizer.encode(audio[None], sample_rate=self.tokenizer.sample_rate)
        return stretched(tokens["content"][0, 0].numpy(), num_frames)


class PhoneContents:
    """Phones of a CTC model of transformers; blanks are a class.

    Raises:
        HubError: when the model cannot be loaded.
        JobError: when transformers is not installed.
    """

    def __init__(self, config: Facodec24kConfig, source: str) -> None:
        self._extractor, self._network = _transformer(source, "AutoModelForCTC")
        self.rate, self.num_classes = config.sample_rate, int(self._network.config.vocab_size)

    def __call__(self, samples: Array, num_frames: int) -> Array:
        """Return `(frames,)` phones."""
        logits = _logits(self._extractor, self._network, samples, self.rate)
        return stretched(logits[0].argmax(dim=-1).numpy(), num_frames)


class YaaptPitches:
    """F0 by YAAPT, of the 5 ms frame nearest to each frame's beginning."""

    def __init__(self, config: Facodec24kConfig) -> None:
        self.rate, self.hop_length = config.sample_rate, config.hop_length

    def __call__(self, samples: Array, num_frames: int) -> Array:
        """Return `(frames,)`, Hz."""
        f0 = extract_pitch(resample(samples, self.rate, _PITCH_RATE).astype(np.float64))
        ratio = self.hop_length * _PITCH_RATE / (self.rate * _PITCH_HOP)
        places = np.minimum(np.round(np.arange(num_frames) * ratio).astype(int), len(f0) - 1)
        return np.asarray(f0[places])


class NetworkPitches:
    """F0 by the network of the released training.

    Raises:
        CheckpointError: when the file is missing or of another network.
    """

    def __init__(self, config: Facodec24kConfig, path: str | Path) -> None:
        self.network, self.mel = PitchNetwork(), target_mel(config)
        stored = {
            name.removeprefix("net.").removeprefix("module."): value
            for name, value in read_state_dict(Path(path)).items()
        }
        stored = {name: value for name, value in stored.items() if not name.startswith(UNUSED)}
        own = {name: tuple(value.shape) for name, value in self.network.state_dict().items()}
        found = {name: tuple(value.shape) for name, value in stored.items()}
        check_entries(own, found, source=f"'{path}'")
        self.network.load_state_dict(stored)
        self.network.eval()

    @torch.inference_mode()
    def __call__(self, samples: Array, num_frames: int) -> Array:
        """Return `(frames,)`, Hz."""
        f0: Array = self.network(self.mel(torch.from_numpy(samples)[None]))[0].numpy()
        return f0[:num_frames]


class SpeakerClassifier:
    """The class that a model of transformers gives a voice.

    Raises:
        HubError: when the model cannot be loaded.
        JobError: when transformers is not installed.
    """

    def __init__(self, config: Facodec24kConfig, source: str) -> None:
        self._extractor, self._network = _transformer(source, "AutoModelForAudioClassification")
        self.rate, self.num_classes = config.sample_rate, int(self._network.config.num_labels)

    def __call__(self, samples: Array) -> int:
        """Return the class of an utterance."""
        return int(_logits(self._extractor, self._network, samples, self.rate)[0].argmax())


def target_mel(config: Facodec24kConfig) -> TargetMel:
    """Return the spectrogram that loudness and the F0 network are read from."""
    return TargetMel(config.hop_length, config.fft_length, config.window_length, config.num_mels)


def mel_vector(mel: TargetMel, samples: Array) -> Array:
    """Return mean and deviation of each band over the frames with speech, `(2 * num_mels,)`: a crude speaker vector."""
    with torch.inference_mode():
        bands = mel(torch.from_numpy(samples)[None])[0].numpy()
    loudness = bands.mean(axis=1)
    nats = _SPEECH_DB / 10 * np.log(10) / 4  # of the spectrogram, whose logarithm is divided by 4
    spoken = bands[loudness >= loudness.max() - nats]
    return np.concatenate([spoken.mean(axis=0), spoken.std(axis=0)])


def stretched(classes: Array, num_frames: int) -> Array:
    """Return `(num_frames,)` int64 classes, each frame's being that at its place in `classes`."""
    if not len(classes):
        raise AudioError("The recording is too short for the model of content.")
    values = torch.from_numpy(np.asarray(classes, dtype=np.float64))[None, None]
    return np.asarray(functional.interpolate(values, size=num_frames)[0, 0].numpy().astype(np.int64))


def _transformer(source: str, kind: str) -> tuple[Any, Any]:
    """Return feature extractor and model."""
    try:
        import transformers
    except ImportError:
        raise JobError(
            f"'{source}' needs the package transformers: pip install 'speechtok[transformers]'."
        ) from None
    try:
        require_plain_config(source)
        extractor = transformers.AutoFeatureExtractor.from_pretrained(source, trust_remote_code=False)  # type: ignore[no-untyped-call]
        network = getattr(transformers, kind).from_pretrained(source, trust_remote_code=False).eval()
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise HubError(f"The model '{source}' cannot be loaded: {reason}") from error
    return extractor, network


def _logits(extractor: Any, network: Any, samples: Array, rate: int) -> torch.Tensor:
    own = int(extractor.sampling_rate)
    inputs = extractor(resample(samples, rate, own), sampling_rate=own, return_tensors="pt")
    try:
        with torch.inference_mode():
            logits: torch.Tensor = network(**inputs).logits
    except (RuntimeError, ValueError) as error:
        raise AudioError(f"{len(samples) / rate:.3f} s is too short for the model.") from error
    return logits
