"""Speaker vectors: WavLM with an x-vector head, as `transformers` has it.

Source: Chen et al. 2022, WavLM, arXiv:2110.13900, section V.B; `WavLMForXVector` of transformers. Released weights:
`microsoft/wavlm-base-plus-sv` on the Hugging Face Hub.

Contents: `WavLmSpeaker`.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from speechtok.errors import CheckpointError

KIND = "wavlm"
"""`model_type` in the config of such a network."""
_OLD_NAMES = {
    "weight_g": "parametrizations.weight.original0",
    "weight_v": "parametrizations.weight.original1",
}
_LEVEL_EPS = 1e-7
_COUNTS = {
    "hidden_size": 4096,
    "num_hidden_layers": 100,
    "num_attention_heads": 64,
    "intermediate_size": 16_384,
    "num_conv_pos_embeddings": 1024,
    "num_conv_pos_embedding_groups": 256,
    "num_buckets": 4096,
    "max_bucket_distance": 65_536,
    "xvector_output_dim": 4096,
    "num_labels": 100_000,
}
"""Whole numbers of a config → the most each may be; the largest published network has 1,024 channels in 24 layers."""
_LISTS = {
    "conv_dim": 4096,
    "conv_stride": 64,
    "conv_kernel": 64,
    "tdnn_dim": 8192,
    "tdnn_kernel": 64,
    "tdnn_dilation": 64,
}
"""Lists of whole numbers → the most each number may be."""
_LONGEST = 16
_FLAGS = ("conv_bias", "do_stable_layer_norm", "use_weighted_layer_sum")
_WORDS = {
    "hidden_act": ("gelu", "relu"),
    "feat_extract_activation": ("gelu", "relu"),
    "feat_extract_norm": ("group", "layer"),
}


class WavLmSpeaker(nn.Module):
    """Entries are those of the model in `transformers`, which is imported when one is built.

    Of the config only what shapes the network is taken, value by value; names of code, kernels, types and files
    never reach `transformers`.

    Args:
        network: contents of the model's `config.json`, with `do_normalize` of its preprocessor.

    Raises:
        CheckpointError: when the model is of another kind, a value is of another kind or size than is known, or
            transformers is not installed.
    """

    def __init__(self, network: Mapping[str, Any]) -> None:
        super().__init__()
        if network.get("model_type") != KIND:
            raise CheckpointError(
                f"The part 'speaker' has a config.json of the kind {network.get('model_type')!r}, but only '{KIND}' and "
                "plain x-vectors are known; set another network as `speaker_encoder`."
            )
        try:
            from transformers import WavLMConfig, WavLMForXVector
        except ImportError as error:
            raise CheckpointError(
                "The part 'speaker' is a WavLM, which needs transformers: pip install 'speechtok[transformers]'."
            ) from error
        known = _known(network)
        try:
            self.model = WavLMForXVector(WavLMConfig(**known))
            _ = self.min_samples  # lists of one length
        except Exception as error:  # the library fails in any way where settings do not fit together
            reason = " ".join(str(error).split())
            raise CheckpointError(
                f"The settings in the config.json of the part 'speaker' do not fit together ({reason})."
            ) from error
        self.is_leveled = bool(network.get("do_normalize", False))
        self.channels = int(self.model.config.xvector_output_dim)

    @property
    def min_samples(self) -> int:
        """Fewest samples that leave a frame after the time-delay layers."""
        config, frames = self.model.config, 1
        for kernel, dilation in zip(config.tdnn_kernel, config.tdnn_dilation, strict=True):
            frames += dilation * (kernel - 1)
        samples = frames + 1  # a deviation needs two
        for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
            samples = (samples - 1) * stride + kernel
        return int(samples)

    def entries(self, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a file's entries by the names of this module, whatever torch's weight norm was called."""
        wanted, found = self.state_dict(), {}
        for name, value in stored.items():
            ours = f"model.{name}"
            if ours not in wanted:
                stem, _, last = ours.rpartition(".")
                ours = f"{stem}.{_OLD_NAMES.get(last, last)}"
            found[ours] = value
        return found

    def forward(self, waveform: Tensor, num_samples: Tensor) -> Tensor:
        """Return the speaker vector of each utterance as if it were alone.

        Args:
            waveform: `(batch, samples)`; shorter utterances than `min_samples` are repeated.
            num_samples: `(batch,)`, int64, valid samples of each.

        Returns:
            `(batch, channels)`.
        """
        vectors = []
        for item, samples in zip(waveform, num_samples.tolist(), strict=True):
            own = item[:samples]
            if samples < self.min_samples:
                own = own.repeat(-(-self.min_samples // samples))[: self.min_samples]
            if self.is_leveled:
                own = (own - own.mean()) / (own.var(unbiased=False) + _LEVEL_EPS).sqrt()
            vectors.append(self.model(own[None]).embeddings)
        return torch.cat(vectors)


def _known(network: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that shape the network, each checked.

    Raises:
        CheckpointError: for a value of another kind or size.
    """
    known: dict[str, Any] = {}
    labels = network.get("id2label")
    given = dict(network) | ({"num_labels": len(labels)} if isinstance(labels, Mapping) and labels else {})
    for name, value in given.items():
        if name in _COUNTS:
            right, needed = _is_count(value, _COUNTS[name]), f"a whole number from 1 to {_COUNTS[name]}"
        elif name in _LISTS:
            right = isinstance(value, list | tuple) and 0 < len(value) <= _LONGEST
            right = right and all(_is_count(item, _LISTS[name]) for item in value)
            needed = f"a list of at most {_LONGEST} whole numbers from 1 to {_LISTS[name]}"
        elif name in _FLAGS:
            right, needed = isinstance(value, bool), "true or false"
        elif name in _WORDS:
            right, needed = value in _WORDS[name], " or ".join(_WORDS[name])
        elif name == "layer_norm_eps":
            right, needed = isinstance(value, float) and 0 < value < 1, "a number between 0 and 1"
        elif name == "add_adapter":
            right, needed = value is False, "false, since networks with adapters are not known"
        else:
            continue
        if not right:
            raise CheckpointError(
                f"The config.json of the part 'speaker' has {reprlib.repr(value)} in field {name}, which must be {needed}."
            )
        known[name] = list(value) if isinstance(value, tuple) else value
    return known


def _is_count(value: object, most: int) -> bool:
    return type(value) is int and 1 <= value <= most
