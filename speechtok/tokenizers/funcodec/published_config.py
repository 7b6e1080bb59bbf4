"""The configuration language of FunCodec: from a published `config.yaml` to a `FuncodecConfig`.

Source: repository `modelscope/FunCodec`, whose recipes under `egs/LibriTTS/codec` write such files. A
published file holds all arguments of a training run; only the sections in `SECTIONS` matter here. Inside
`encoder_conf` and `decoder_conf` every field is honoured or refused by name, so a network is never built
from half of its description.

Contents: `SECTIONS`, `parse_config`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from speechtok.errors import CardError
from speechtok.tokenizers.funcodec.config import DOMAINS, FuncodecConfig, StackConfig

SECTIONS = (
    "model",
    "model_conf",
    "input_size",
    "encoder",
    "encoder_conf",
    "decoder",
    "decoder_conf",
    "quantizer",
    "quantizer_conf",
)
"""Top-level keys of `config.yaml` that describe the network; all others are about training."""
FFT_LENGTH = 512
"""Points of the Fourier transform, and samples of its window, when `domain_conf` states none."""
FFT_HOP = 160
"""Samples between spectra when `domain_conf` states none."""
_RATIOS = {1: ((8,), (5,), (4,), (2,)), 2: ((4, 1), (4, 1), (4, 2), (4, 1))}
_FIXED = {
    "pad_mode": "reflect",
    "activation": "ELU",
    "activation_params": {"alpha": 1.0},
    "add_snake_activation": False,
    "double_filters": True,
    "half_filters": True,
    "final_activation": None,
    "final_activation_params": None,
}
"""Fields of which only one value was ever released; others are refused."""
_NORMS = ("none", "weight_norm", "time_group_norm")


def parse_config(content: Mapping[str, Any], source: str) -> FuncodecConfig:
    """Return the network a `config.yaml` describes.

    Args:
        content: the YAML mapping, whole or its `SECTIONS`.
        source: what messages call it.

    Raises:
        CardError: for an unknown model, encoder, quantizer or field, or values that do not fit together.
    """
    try:
        return _parse(content, source)
    except (TypeError, ValueError, AttributeError) as error:
        raise CardError(f"{source} has a value of a wrong type: {error}.") from error


def _parse(content: Mapping[str, Any], source: str) -> FuncodecConfig:
    reader = _Reader(content, source)
    model = reader.one_of("model", content.get("model"), ("encodec", "freq_codec"))
    reader.one_of("quantizer", content.get("quantizer"), ("costume_quantizer",))
    kinds = ("encodec_seanet_encoder", "encodec_seanet_encoder_2d")
    axes = 1 + kinds.index(reader.one_of("encoder", content.get("encoder"), kinds))
    settings, quantizer = reader.section("model_conf"), reader.section("quantizer_conf")
    domain = _domain(reader, model, settings, axes)
    given = reader.integer("input_size", content.get("input_size", 1))
    encoder = reader.stack("encoder_conf", axes, channels=given)
    decoder = reader.stack("decoder_conf", axes, channels=1, dimension=encoder.dimension)
    for side, name, channels in ((0, "input_size", given), (1, "decoder_conf.channels", decoder.channels)):
        needed = DOMAINS.get(domain[side], 1)
        if channels != needed:
            raise reader.wrong(name, channels, f"{needed} for the domain '{domain[side]}'")
    if encoder.ratios != decoder.ratios:
        raise reader.wrong("decoder_conf.ratios", decoder.ratios, f"those of the encoder, {encoder.ratios}")
    transform = settings.get("domain_conf") or {}
    spectral = domain[0] != "time"
    rate = reader.integer("quantizer_conf.sampling_rate", quantizer.get("sampling_rate", 24_000))
    config = FuncodecConfig(
        encoder=encoder,
        decoder=decoder,
        sample_rate=reader.integer(
            "model_conf.target_sample_hz",
            settings.get("target_sample_hz") or quantizer.get("sampling_rate", rate),
        ),
        domain=domain,
        fft_length=reader.integer("model_conf.domain_conf.n_fft", transform.get("n_fft", FFT_LENGTH)),
        fft_hop=reader.integer("model_conf.domain_conf.hop_length", transform.get("hop_length", FFT_HOP))
        if spectral
        else 1,
        normalize=bool(settings.get("audio_normalize", model == "encodec")),
        num_codebooks=reader.integer("quantizer_conf.num_quantizers", quantizer.get("num_quantizers", 8)),
        codebook_size=reader.integer("quantizer_conf.codebook_size", quantizer.get("codebook_size", 1024)),
        codebook_dim=reader.integer(
            "quantizer_conf.codec_dim", quantizer.get("codec_dim") or encoder.dimension
        ),
        codec_range=None if quantizer.get("codec_range") is None else float(quantizer["codec_range"]),
        bandwidth_rate=rate,
    )
    stated = quantizer.get("encoder_hop_length", config.hop_length)
    if stated != config.hop_length:
        raise reader.wrong(
            "quantizer_conf.encoder_hop_length", stated, f"{config.hop_length}, as the ratios say"
        )
    return config


def _domain(reader: _Reader, model: str, settings: Mapping[str, Any], axes: int) -> tuple[str, str]:
    """Return the signal domain of both sides, after refusing modes that need more than whole utterances."""
    if settings.get("segment_dur", 1.0) is not None:
        raise reader.wrong(
            "model_conf.segment_dur", settings.get("segment_dur", 1.0), "null: utterances are encoded whole"
        )
    if settings.get("bypass_quantizer", False):
        raise reader.wrong("model_conf.bypass_quantizer", True, "false: there would be no codes")
    if model == "encodec":
        name = reader.one_of("model_conf.codec_domain", settings.get("codec_domain", "time"), ("time",))
        if axes != 1:
            raise reader.wrong("encoder", "encodec_seanet_encoder_2d", "one-dimensional for model 'encodec'")
        return name, name
    pair = settings.get("codec_domain")
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        raise reader.wrong("model_conf.codec_domain", pair, "a pair of domains for model 'freq_codec'")
    if axes != 2:
        raise reader.wrong("encoder", "encodec_seanet_encoder", "two-dimensional for model 'freq_codec'")
    first, second = (reader.one_of("model_conf.codec_domain", name, tuple(DOMAINS)) for name in pair)
    return first, second


class _Reader:
    """Reads values of one `config.yaml`, naming file and field in every complaint."""

    def __init__(self, content: Mapping[str, Any], source: str) -> None:
        self._content, self._source = content, source

    def wrong(self, field: str, value: object, needed: str) -> CardError:
        return CardError(f"{self._source} has {value!r} in field {field}, which must be {needed}.")

    def one_of(self, field: str, value: object, known: tuple[str, ...]) -> str:
        if value not in known:
            raise self.wrong(field, value, " or ".join(repr(item) for item in known))
        return str(value)

    def integer(self, field: str, value: object, least: int = 1) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise self.wrong(field, value, f"a whole number of at least {least}")
        return value

    def section(self, name: str) -> Mapping[str, Any]:
        section = self._content.get(name) or {}
        if not isinstance(section, Mapping):
            raise self.wrong(name, section, "a mapping")
        return section

    def stack(self, name: str, axes: int, *, channels: int, dimension: int | None = None) -> StackConfig:
        """Return the stack that `encoder_conf` or `decoder_conf` describes, using up every field."""
        left = dict(self.section(name))
        for field, only in _FIXED.items():
            if left.pop(field, only) not in (only, {} if isinstance(only, dict) else only):
                raise self.wrong(f"{name}.{field}", self.section(name)[field], repr(only))

        def count(field: str, default: int) -> int:
            return self.integer(f"{name}.{field}", left.pop(field, default))

        def flag(field: str, default: bool) -> bool:
            value = left.pop(field, default)
            if not isinstance(value, bool):
                raise self.wrong(f"{name}.{field}", value, "true or false")
            return value

        def per_axis(field: str, default: int) -> tuple[int, ...]:
            return self._per_axis(f"{name}.{field}", left.pop(field, default), axes)

        def ratio(field: str) -> int:
            value = left.pop(field, -1)
            return -1 if value is None or value == -1 else self.integer(f"{name}.{field}", value)

        ratios = left.pop("ratios", None) or _RATIOS[axes]
        sequence = str(left.pop("seq_model", "lstm"))
        if sequence == "transformer":
            raise self.wrong(f"{name}.seq_model", sequence, "'lstm' or 'none'")
        layers, norm_params = count("seq_layer_num", 2), left.pop("norm_params", None) or {}
        if not isinstance(norm_params, Mapping) or not norm_params.keys() <= {"num_groups"}:
            raise self.wrong(f"{name}.norm_params", norm_params, "a mapping with num_groups alone")
        stack = StackConfig(
            channels=count("channels", channels),
            dimension=count("dimension", dimension or 128),
            ratios=tuple(self._per_axis(f"{name}.ratios", item, axes) for item in ratios),
            filters=count("n_filters", 32),
            residual_layers=self.integer(f"{name}.n_residual_layers", left.pop("n_residual_layers", 1), 0),
            kernel_size=per_axis("kernel_size", 7),
            last_kernel_size=per_axis("last_kernel_size", 7),
            residual_kernel_size=per_axis("residual_kernel_size", 3),
            dilation_base=count("dilation_base", 2),
            compress=count("compress", 2),
            true_skip=flag("true_skip", False),
            norm=self.one_of(f"{name}.norm", left.pop("norm", "weight_norm"), _NORMS),
            num_groups=self.integer(f"{name}.norm_params.num_groups", norm_params.get("num_groups", 1)),
            causal=flag("causal", False),
            lstm_layers=layers if sequence == "lstm" else 0,
            lstm_skip=flag("res_seq", True),
            group_ratio=ratio("conv_group_ratio"),
            transposed_group_ratio=ratio("tr_conv_group_ratio"),
            trim_right_ratio=float(left.pop("trim_right_ratio", 1.0)),
            last_out_padding=self._out_padding(name, left.pop("last_out_padding", None), axes),
        )
        if left:
            raise CardError(
                f"{self._source} has the unknown field {name}.{min(left)}; its meaning cannot be guessed."
            )
        return stack

    def _per_axis(self, field: str, value: object, axes: int) -> tuple[int, ...]:
        values = list(value) if isinstance(value, list | tuple) else [value] * axes
        if len(values) != axes:
            raise self.wrong(field, value, f"one number for each of {axes} axes")
        return tuple(self.integer(field, item) for item in values)

    def _out_padding(self, name: str, value: Any, axes: int) -> tuple[tuple[int, int], ...]:
        if axes == 1:
            return ((0, 0),)
        pairs = ((0, 1), (0, 0)) if value is None else tuple(tuple(pair) for pair in value)
        if [len(pair) for pair in pairs] != [2, 2]:
            raise self.wrong(f"{name}.last_out_padding", value, "two pairs")
        return tuple((int(before), int(after)) for before, after in pairs)
