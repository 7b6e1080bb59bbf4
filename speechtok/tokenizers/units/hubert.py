"""Features of HuBERT, wav2vec 2.0 and their kin, batched exactly and cut after the layer that is read.

Source: Hsu et al. 2021, HuBERT, arXiv:2106.07447, section 3; Baevski et al. 2020, wav2vec 2.0,
arXiv:2006.11477, section 2. Kin: DistilHuBERT (Chang et al. 2022, arXiv:2110.01900), ContentVec (Qian et al. 2022,
arXiv:2204.09224), WavLM (see `hubert_attention`), data2vec (see `hubert_positions`). Entry names as in `facebook/hubert-base-ls960` on the Hugging Face Hub, with the
weight norm of the positional convolution folded into one entry `weight`.

Conventions: waveforms are `(batch, samples)` at 16 kHz; features are `(batch, frames, channels)`.

Exact batching: frames of the convolutions never see padding; padded frames are zeroed before the positional
convolution and masked as keys of attention.

Contents: `Hubert`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechtok.nets.precision import exact_fast_matmul
from speechtok.tokenizers.units.hubert_attention import Attention, GatedAttention
from speechtok.tokenizers.units.hubert_extractor import ACTIVATIONS, EPS, Extractor, HubertSettings
from speechtok.tokenizers.units.hubert_positions import PositionConv, PositionConvs


class _Projection(nn.Module):
    """Entries: `layer_norm` (all but DistilHuBERT), `projection`."""

    def __init__(self, settings: HubertSettings) -> None:
        super().__init__()
        has_norm = settings.projection_norm
        self.layer_norm = nn.LayerNorm(settings.conv_channels, eps=settings.epsilon) if has_norm else None
        self.projection = nn.Linear(settings.conv_channels, settings.channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.projection(x if self.layer_norm is None else self.layer_norm(x))
        return out


class _FeedForward(nn.Module):
    """Entries: `intermediate_dense`, `output_dense`."""

    def __init__(self, settings: HubertSettings) -> None:
        super().__init__()
        self.activate = ACTIVATIONS[settings.activation]
        self.intermediate_dense = nn.Linear(settings.channels, settings.hidden)
        self.output_dense = nn.Linear(settings.hidden, settings.channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.output_dense(self.activate(self.intermediate_dense(x)))
        return out


class _Layer(nn.Module):
    """Entries: `attention`, `layer_norm`, `feed_forward`, `final_layer_norm`."""

    def __init__(self, settings: HubertSettings, *, is_first: bool) -> None:
        super().__init__()
        self.norm_first = settings.norm_first
        self.attention = (
            GatedAttention(settings, has_table=is_first) if settings.buckets else Attention(settings)
        )
        self.layer_norm = nn.LayerNorm(settings.channels, eps=settings.epsilon)
        self.feed_forward = _FeedForward(settings)
        self.final_layer_norm = nn.LayerNorm(settings.channels, eps=settings.epsilon)

    def forward(self, x: Tensor, mask: Tensor | None, bias: Tensor | None) -> Tensor:
        out: Tensor
        if self.norm_first:
            x = x + self.attention(self.layer_norm(x), mask, bias)
            out = x + self.feed_forward(self.final_layer_norm(x))
        else:
            x = self.layer_norm(x + self.attention(x, mask, bias))
            out = self.final_layer_norm(x + self.feed_forward(x))
        return out


class _Encoder(nn.Module):
    """Entries: `pos_conv_embed`, `layer_norm` (norms after each part only), `layers.N`."""

    def __init__(self, settings: HubertSettings) -> None:
        super().__init__()
        several = settings.position_norm == "layer"
        self.pos_conv_embed = PositionConvs(settings) if several else PositionConv(settings)
        if not settings.norm_first:
            self.layer_norm = nn.LayerNorm(settings.channels, eps=settings.epsilon)
        self.layers = nn.ModuleList(
            _Layer(settings, is_first=index == 0) for index in range(settings.num_layers)
        )


class Hubert(nn.Module):
    """The network up to the layer that is read.

    Features of the large models (norms first) are the raw sum after the layer, without a final norm.

    Args:
        settings: sizes.
        normalize: whether each waveform is first brought to zero mean and unit variance, as the large models
            were trained; the base model was not, whatever its preprocessor file says.
    """

    def __init__(self, settings: HubertSettings, *, normalize: bool = False) -> None:
        super().__init__()
        self.settings = settings
        self.normalize = normalize
        self.feature_extractor = Extractor(settings)
        self.feature_projection = _Projection(settings)
        self.encoder = _Encoder(settings)

    @property
    def hop_length(self) -> int:
        """Samples per frame."""
        return self.settings.hop_length

    @property
    def min_samples(self) -> int:
        """Samples one frame sees; fewer give none."""
        return self.settings.min_samples

    @property
    def channels(self) -> int:
        """Channels of the features."""
        return self.settings.channels

    def num_frames(self, num_samples: int) -> int:
        """Return the frames that lie wholly inside `num_samples` samples."""
        return max(0, (num_samples - self.min_samples) // self.hop_length + 1)

    def forward(self, waveform: Tensor, num_samples: Tensor) -> Tensor:
        """Return the features of each utterance as if it were alone.

        Args:
            waveform: `(batch, samples)`, at least `min_samples` samples, at the amplitude of the recording.
            num_samples: `(batch,)`, int64, valid samples of each.

        Returns:
            `(batch, frames, channels)`; past an utterance's `num_frames` the values mean nothing.
        """
        lengths: list[int] = num_samples.tolist()
        if self.normalize:
            waveform = _normalized(waveform, lengths)
        frames = [self.num_frames(samples) for samples in lengths]
        longest = max(frames)
        with exact_fast_matmul(waveform.device, waveform.dtype):
            x: Tensor = self.feature_extractor(waveform, lengths, longest)
            x = self.feature_projection(x)
            inside = mask = bias = None
            if min(frames) < longest:
                inside = (
                    torch.arange(longest, device=x.device) < torch.tensor(frames, device=x.device)[:, None]
                )
                mask, inside = inside[:, None, None], inside[:, :, None]
                x = x * inside
            x = x + self.encoder.pos_conv_embed(x, inside)
            if not self.settings.norm_first:
                x = self.encoder.layer_norm(x)
            if self.settings.buckets:
                bias = self.encoder.layers[0].attention.biases(longest)  # type: ignore[union-attr, operator]
            for layer in self.encoder.layers:
                x = layer(x, mask, bias)
        return x


def _normalized(waveform: Tensor, lengths: list[int]) -> Tensor:
    """Return each utterance at zero mean and unit (biased) variance, zero past its end."""
    out = torch.zeros_like(waveform)
    for row, item, samples in zip(out, waveform, lengths, strict=True):
        row[:samples] = functional.layer_norm(item[:samples], (samples,), eps=EPS)
    return out
