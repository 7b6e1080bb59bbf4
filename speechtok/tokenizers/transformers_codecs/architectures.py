"""What differs between the codecs of `transformers`, one small class each.

A codec here is a model of transformers with four questions answered: how many frames a waveform has, which
codes it gives, what the codes sound like, and which latents they stand for. Each is asked for one utterance at a
time, never padded by others, since none of these models gives the codes of the lone utterance in a batch of
unequal lengths (convolutions see their neighbours' padding, attention and norms over time do too). What the
published feature extractor does to the waveform is part of the codec: the codes are those of extractor and model.

Conventions: a waveform is `(samples,)`, codes are `(codebooks, frames)`, int64, coarse first.

Contents: `CODECS`, `Codec`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from operator import attrgetter
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from speechtok.tokenizers.streaming import Coder, WindowCoder
from speechtok.tokenizers.transformers_codecs.config import STREAM
from speechtok.tokenizers.transformers_codecs.streaming import LONGEST, EncodecStream, MimiStream


class Codec(ABC):
    """One model of transformers.

    Args:
        config: its configuration object.
        model: the model, in evaluation mode; None where only the facts of the configuration are asked for.
    """

    model_type: ClassVar[str]
    """`model_type` in the `config.json` of such a model."""
    model_class: ClassVar[str]
    """Name of the class in transformers."""
    since: ClassVar[str]
    """First version of transformers that has it."""
    min_samples: ClassVar[int] = 1
    """Fewest samples that give codes."""
    strides: ClassVar[str]
    """Field of the configuration with the encoder's strides, in any order."""
    synthesis: ClassVar[tuple[str, ...]]
    """Beginnings of the entries of weights that only decoding needs; all others decide what a code means."""
    deciding: ClassVar[tuple[str, ...]]
    """Fields of the configuration that decide what a code means and do not show in the shapes of the weights."""

    def __init__(self, config: Any, model: Any = None) -> None:
        self.config = config
        self.model = model

    @property
    def settings(self) -> dict[str, Any]:
        """The values of `deciding`, by name."""
        return {name: attrgetter(name)(self.config) for name in self.deciding}

    @property
    def sample_rate(self) -> int:
        """Rate of the audio, in Hz."""
        return int(self.config.sampling_rate)

    @property
    def output_sample_rate(self) -> int:
        """Rate of decoded audio, in Hz."""
        return self.sample_rate

    @property
    def num_codebooks(self) -> int:
        """Codebooks of a frame."""
        return 1

    @property
    def codebook_size(self) -> int:
        """Codes of each codebook."""
        return int(self.config.codebook_size)

    @property
    def hop_length(self) -> int:
        """Samples from one frame to the next: the product of the encoder's strides."""
        return math.prod(attrgetter(self.strides)(self.config))

    def num_frames(self, num_samples: int) -> int:
        """Return the frames of `num_samples` samples: ceil(num_samples / hop_length) unless said otherwise."""
        return -(-num_samples // self.hop_length)

    @abstractmethod
    def encode(self, waveform: Tensor) -> Tensor:
        """Return the codes `(codebooks, frames)` of one waveform `(samples,)`."""

    def decode(self, codes: Tensor) -> Tensor:
        """Return the waveform `(samples,)` of one utterance's codes `(codebooks, frames)`; it may lack some samples."""
        waveform: Tensor = self.model.decode(audio_codes=codes[None]).audio_values
        return waveform.reshape(-1)

    def latents(self, codes: Tensor) -> Tensor:
        """Return the quantized latents `(channels, frames)` that codes stand for: the sum of their entries."""
        latents: Tensor = self.model.quantizer.decode(codes[:, None])[0]
        return latents

    def stream(self, frames: int | None, num_codebooks: int | None) -> Coder | None:
        """Return what encodes one utterance in blocks of so many frames, None where codes depend on the whole."""
        return None

    def _whole_frames(self, waveform: Tensor) -> Tensor:
        """Return the waveform with zeros behind it up to the next whole frame, as feature extractors do."""
        return nn.functional.pad(waveform, (0, -len(waveform) % self.hop_length))


class Encodec(Codec):
    """EnCodec at 24 kHz, mono.

    Source: Défossez et al. 2022, High Fidelity Neural Audio Compression, arXiv:2210.13438.
    """

    model_type = "encodec"
    model_class = "EncodecModel"
    since = "4.57"
    strides = "upsampling_ratios"
    synthesis = ("decoder.",)
    deciding = (
        "sampling_rate",
        "upsampling_ratios",
        "dilation_growth_rate",
        "pad_mode",
        "use_causal_conv",
        "normalize",
    )

    @property
    def num_codebooks(self) -> int:
        """Those of the highest bandwidth."""
        bits = math.log2(self.codebook_size) * self.sample_rate / self.hop_length
        return int(1000 * self.config.target_bandwidths[-1] // bits)

    def encode(self, waveform: Tensor) -> Tensor:
        """Return the codes at the highest bandwidth."""
        found = self.model.encode(waveform[None, None], bandwidth=self.config.target_bandwidths[-1])
        codes: Tensor = found.audio_codes[0, 0]
        return codes

    def decode(self, codes: Tensor) -> Tensor:
        """Return as many samples as the frames hold."""
        waveform: Tensor = self.model.decode(codes[None, None], [None]).audio_values[0, 0]
        return waveform

    def stream(self, frames: int | None, num_codebooks: int | None) -> Coder | None:
        """Return a stream where all layers look back only."""
        looks_back = self.config.use_causal_conv and self.config.norm_type == "weight_norm"
        return EncodecStream(self, frames, num_codebooks) if looks_back else None


class Dac(Codec):
    """Descript Audio Codec. A code depends on a finite stretch of samples, so long audio is encoded in windows.

    Source: Kumar et al. 2023, High-Fidelity Audio Compression with Improved RVQGAN, arXiv:2306.06546.
    """

    model_type = "dac"
    model_class = "DacModel"
    since = "4.57"
    strides = "downsampling_ratios"
    synthesis = ("decoder.",)
    deciding = ("sampling_rate", "downsampling_ratios")

    @property
    def num_codebooks(self) -> int:
        """`n_codebooks` of the configuration."""
        return int(self.config.n_codebooks)

    @property
    def context(self) -> int:
        """Frames to each side that a code depends on."""
        layers = [layer for layer in self.model.encoder.modules() if isinstance(layer, nn.Conv1d)]
        return -(-_reach(layers) // self.hop_length)

    def encode(self, waveform: Tensor) -> Tensor:
        """Return the codes of the waveform and the zeros up to its next whole frame."""
        codes: Tensor = self.model.encode(self._whole_frames(waveform)[None, None]).audio_codes[0]
        return codes

    def stream(self, frames: int | None, num_codebooks: int | None) -> Coder:
        """Return what encodes in windows with full context."""
        return WindowCoder(
            lambda samples, kept: {STREAM: self.encode(samples)[:num_codebooks, kept]},
            codebooks={STREAM: num_codebooks or self.num_codebooks},
            num_frames=self.num_frames,
            hop_length=self.hop_length,
            context=self.context,
            size=frames,
            most=LONGEST,
        )

    def latents(self, codes: Tensor) -> Tensor:
        """Return what the decoder reads: entries of the codebooks, projected and summed."""
        latents: Tensor = self.model.quantizer.from_codes(codes[None])[0][0]
        return latents


class Mimi(Codec):
    """Mimi: the first codebook learned from WavLM what is said, the others hold the rest.

    Source: Défossez et al. 2024, Moshi, arXiv:2410.00037, section 3.3.
    """

    model_type = "mimi"
    model_class = "MimiModel"
    since = "4.57"
    synthesis = ("decoder.", "decoder_transformer.", "upsample.")
    deciding = (
        "sampling_rate",
        "upsampling_ratios",
        "dilation_growth_rate",
        "pad_mode",
        "use_causal_conv",
        "frame_rate",
        "num_attention_heads",
        "num_key_value_heads",
        "hidden_act",
        "norm_eps",
        "sliding_window",
        "rope_parameters",
    )

    @property
    def num_codebooks(self) -> int:
        """`num_quantizers` of the configuration."""
        return int(self.config.num_quantizers)

    @property
    def hop_length(self) -> int:
        """Samples between two frames at `frame_rate`."""
        return round(self.sample_rate / float(self.config.frame_rate))

    def encode(self, waveform: Tensor) -> Tensor:
        """Return the codes of all quantizers."""
        codes: Tensor = self.model.encode(
            waveform[None, None], num_quantizers=self.num_codebooks
        ).audio_codes[0]
        return codes

    def latents(self, codes: Tensor) -> Tensor:
        """Return the sum of both quantizers' outputs."""
        latents: Tensor = self.model.quantizer.decode(codes[None])[0]
        return latents

    def stream(self, frames: int | None, num_codebooks: int | None) -> Coder:
        """Return a stream; all of Mimi's encoder looks back only."""
        return MimiStream(self, frames, num_codebooks)


class XCodec(Codec):
    """X-Codec: acoustic and HuBERT or WavLM features in one residual quantizer.

    Source: Ye et al. 2024, Codec Does Matter, arXiv:2408.17175.
    """

    model_type = "xcodec"
    model_class = "XcodecModel"
    since = "4.57"
    strides = "acoustic_model_config.downsampling_ratios"
    synthesis = ("acoustic_decoder.", "decoder_semantic.", "fc1.", "fc2.")
    deciding = (
        "sample_rate",
        "strides",
        "block_dilations",
        "acoustic_model_config.downsampling_ratios",
        "semantic_model_config.num_attention_heads",
        "semantic_model_config.conv_stride",
        "semantic_model_config.hidden_act",
        "semantic_model_config.feat_extract_activation",
        "semantic_model_config.feat_extract_norm",
        "semantic_model_config.layer_norm_eps",
        "semantic_model_config.do_stable_layer_norm",
    )

    @property
    def sample_rate(self) -> int:
        """`sample_rate` of the configuration."""
        return int(self.config.sample_rate)

    @property
    def num_codebooks(self) -> int:
        """Those of the highest bandwidth."""
        bits = math.ceil(math.log2(self.codebook_size)) * self.sample_rate / self.hop_length
        return int(1000 * self.config.target_bandwidths[-1] // bits)

    def encode(self, waveform: Tensor) -> Tensor:
        """Return the codes at the highest bandwidth, of the waveform and the zeros up to its next whole frame."""
        codes: Tensor = self.model.encode(
            self._whole_frames(waveform)[None, None], bandwidth=self.config.target_bandwidths[-1]
        ).audio_codes[0]
        return codes


class WavTokenizer(Codec):
    """WavTokenizer: one codebook at 40 or 75 Hz.

    Source: Ji et al. 2024, WavTokenizer, arXiv:2408.16532.
    """

    model_type = "wavtokenizer"
    model_class = "WavTokenizerModel"
    since = "5.24"
    strides = "upsampling_ratios"
    synthesis = ("backbone.", "head.")
    deciding = ("sampling_rate", "upsampling_ratios", "dilation_growth_rate", "pad_mode", "use_causal_conv")

    def encode(self, waveform: Tensor) -> Tensor:
        """Return the codes of the only codebook."""
        codes: Tensor = self.model.encode(waveform[None, None]).audio_codes[0]
        return codes

    def latents(self, codes: Tensor) -> Tensor:
        """Return the codebook's entries."""
        latents: Tensor = self.model.encoder_model.quantizer.decode(codes)[0]
        return latents


class XCodec2(Codec):
    """X-Codec 2: one codebook of 65,536 codes from acoustic features and w2v-BERT.

    Source: Ye et al. 2025, Llasa, arXiv:2502.04128. The mel features are Kaldi's, 80 channels
    standardised over the utterance, two frames joined. transformers computes them twice: with torchaudio in
    `Xcodec2FeatureExtractor`, which few machines can import, and with NumPy in `SeamlessM4TFeatureExtractor`, which is
    what the authors used and what is called here.
    """

    model_type = "xcodec2"
    model_class = "Xcodec2Model"
    since = "5.24"
    strides = "downsampling_ratios"
    synthesis = ("acoustic_decoder.",)
    deciding = (
        "sampling_rate",
        "downsampling_ratios",
        "quantization_levels",
        "semantic_model_config.num_attention_heads",
        "semantic_model_config.hidden_act",
        "semantic_model_config.layer_norm_eps",
        "semantic_model_config.position_embeddings_type",
        "semantic_model_config.left_max_position_embeddings",
        "semantic_model_config.right_max_position_embeddings",
    )

    @property
    def codebook_size(self) -> int:
        """Product of the levels of the finite scalar quantizer."""
        return math.prod(self.config.quantization_levels)

    def num_frames(self, num_samples: int) -> int:
        """Return floor(num_samples / hop_length) + 1: the extractor appends a zero before it fills the last frame."""
        return num_samples // self.hop_length + 1

    @property
    def margin(self) -> int:
        """Zeros before and behind the waveform of which mel features are made: half a frame."""
        return self.hop_length // 2

    def encode(self, waveform: Tensor) -> Tensor:
        """Return the codes of the only codebook."""
        padded = self._whole_frames(nn.functional.pad(waveform, (0, 1)))
        found = self.model.encode(padded[None, None], input_features=self._features(padded)[None])
        codes: Tensor = found.audio_codes[0].long()
        return codes

    def latents(self, codes: Tensor) -> Tensor:
        """Return what the decoder reads: the quantized vectors, projected."""
        latents: Tensor = self.model.quantizer.from_codes(codes[None].transpose(1, 2))[0].T
        return latents

    def _features(self, padded: Tensor) -> Tensor:
        """Return the `(frames, 160)` that w2v-BERT reads for a waveform of whole frames."""
        import transformers

        library: Any = transformers
        samples = nn.functional.pad(padded, (self.margin, self.margin)).double().cpu().numpy()
        extract = library.SeamlessM4TFeatureExtractor(sampling_rate=self.sample_rate)
        found = extract(samples, sampling_rate=self.sample_rate, return_tensors="pt")
        return torch.as_tensor(found["input_features"][0]).to(padded)


class NeuCodec(XCodec2):
    """NeuCodec: X-Codec 2 that reads 16 kHz and speaks at 24 kHz.

    Source: Julian et al. 2025, Finite Scalar Quantization Enables Redundant and Transmission-Robust Neural Audio
    Compression at Low Bit-rates, arXiv:2509.09550. Its extractor, too, asks for torchaudio; its features are those of
    X-Codec 2 without margins.
    """

    model_type = "neucodec"
    model_class = "NeuCodecModel"
    deciding = ("input_sampling_rate", *XCodec2.deciding[1:])
    margin = 0

    @property
    def sample_rate(self) -> int:
        """`input_sampling_rate` of the configuration."""
        return int(self.config.input_sampling_rate)

    @property
    def output_sample_rate(self) -> int:
        """`output_sampling_rate` of the configuration."""
        return int(self.config.output_sampling_rate)

    @property
    def min_samples(self) -> int:  # type: ignore[override]
        """A frame."""
        return self.hop_length

    def num_frames(self, num_samples: int) -> int:
        """Return floor(num_samples / hop_length): the last frame has no features of its own."""
        return num_samples // self.hop_length


CODECS: dict[str, type[Codec]] = {
    kind.model_type: kind for kind in (Encodec, Dac, Mimi, XCodec, WavTokenizer, XCodec2, NeuCodec)
}
"""`model_type` of a `config.json` → its codec."""


def _reach(layers: Iterable[nn.Conv1d]) -> int:
    """Return how many samples beyond its own hop a frame depends on, to the farther side.

    The layers are taken as a chain, first to last; parallel shortcuts reach less far.
    """
    first, last, step = 0, 0, 1
    for layer in reversed(list(layers)):
        (kernel,), (stride,), (dilation,) = layer.kernel_size, layer.stride, layer.dilation
        padding = int(layer.padding[0])
        first = first * stride - padding
        last = last * stride - padding + dilation * (kernel - 1)
        step *= stride
    return max(-first, last - (step - 1))
