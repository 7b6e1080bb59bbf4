"""Speaker vectors: WavLM with an x-vector head, as `transformers` has it.

Source: Chen et al. 2022, WavLM, arXiv:2110.13900, section V.B; `WavLMForXVector` of transformers. Released weights:
`microsoft/wavlm-base-plus-sv` on the Hugging Face Hub.

Contents: `WavLmSpeaker`.
"""

from __future__ import annotations

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


class WavLmSpeaker(nn.Module):
    """Entries are those of the model in `transformers`, which is imported when one is built.

    Args:
        network: contents of the model's `config.json`, with `do_normalize` of its preprocessor.

    Raises:
        CheckpointError: when the model is of another kind, or transformers is not installed.
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
        settings = {name: value for name, value in network.items() if name != "do_normalize"}
        self.model = WavLMForXVector(WavLMConfig.from_dict(settings))
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
