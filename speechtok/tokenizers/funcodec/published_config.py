"""The configuration language of FunCodec: from a published `config.yaml` to a `FuncodecConfig`.

Source: repository `modelscope/FunCodec`, whose recipes under `egs/LibriTTS/codec` write such files. A
published file holds all arguments of a training run; only the sections in `SECTIONS` matter here. Inside
`encoder_conf` and `decoder_conf` every field is honoured or refused by name, so a network is never built
from half of its description.

Contents: `SECTIONS`, `parse_config`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from speechtok.errors import CardError
from speechtok.limits import require_sizes
from speechtok.tokenizers.funcodec.config import DOMAINS, FuncodecConfig, PhoneConfig, SegmentConfig
from speechtok.tokenizers.funcodec.config_reader import ConfigReader

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
SEGMENT_SECONDS = 1.0
"""Length of a segment when `model_conf` does not say that there are none."""
OVERLAP = 0.01
"""Share of a segment that the next one repeats, when `model_conf` states none."""
_UNDOCUMENTED = "how a waveform is made from it is not documented, and no model with it was published"
_DOMAINS_REFUSED = dict.fromkeys(("stft", "mag", "mel"), _UNDOCUMENTED) | {
    "mag_oracle_phase": "decoding needs the phase of the recording, which tokens do not hold"
}
_MODES_REFUSED = dict.fromkeys(
    ("residual", "supervision", "ptts", "addition"), "FunCodec itself cannot encode or decode with it"
)
_NO_SEGMENTS = {
    "freq_codec": "the last segment of an utterance can be too short for a spectrum",
    "codec_semantic_aug": "how phones are shared among segments is not documented",
}
_SEMANTIC = {"ppg_dim", "ppg_ds_rate", "ppg_ds_type", "ppg_usage_mod"}


def parse_config(content: Mapping[str, Any], source: str) -> FuncodecConfig:
    """Return the network a `config.yaml` describes.

    Args:
        content: the YAML mapping, whole or its `SECTIONS`.
        source: what messages call it.

    Raises:
        CardError: for an unknown model, encoder, quantizer or field, or values that do not fit together.
    """
    try:
        config = _parse(content, source)
        require_sizes(asdict(config), source, error=CardError)
        return config
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise CardError(f"{source} has a value of a wrong type: {error}.") from error


def _parse(content: Mapping[str, Any], source: str) -> FuncodecConfig:
    reader = ConfigReader(content, source)
    model = reader.one_of("model", content.get("model"), ("encodec", "freq_codec", "codec_semantic_aug"))
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
    sample_rate = reader.integer(
        "model_conf.target_sample_hz",
        settings.get("target_sample_hz") or quantizer.get("sampling_rate", rate),
    )
    config = FuncodecConfig(
        encoder=encoder,
        decoder=decoder,
        sample_rate=sample_rate,
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
        segments=_segments(reader, model, settings, sample_rate),
        phones=_phones(reader, settings) if model == "codec_semantic_aug" else None,
    )
    stated = quantizer.get("encoder_hop_length", config.hop_length)
    if stated != config.hop_length:
        raise reader.wrong(
            "quantizer_conf.encoder_hop_length", stated, f"{config.hop_length}, as the ratios say"
        )
    if config.phones is not None and config.hop_length % config.phones.per_frame:
        raise reader.wrong(
            "model_conf.ppg_conf.ppg_ds_rate",
            config.phones.per_frame,
            f"a divisor of the hop {config.hop_length}",
        )
    return config


def _domain(reader: ConfigReader, model: str, settings: Mapping[str, Any], axes: int) -> tuple[str, str]:
    """Return the signal domain of both sides."""
    if settings.get("bypass_quantizer", False):
        raise reader.wrong("model_conf.bypass_quantizer", True, "false: there would be no codes")
    field, stated = "model_conf.codec_domain", settings.get("codec_domain", "time")
    if model != "freq_codec":
        name = reader.one_of(field, stated, ("time",), _DOMAINS_REFUSED)
        if axes != 1:
            raise reader.wrong("encoder", "encodec_seanet_encoder_2d", f"one-dimensional for model '{model}'")
        return name, name
    if not isinstance(stated, list | tuple) or len(stated) != 2:
        raise reader.wrong(field, stated, "a pair of domains for model 'freq_codec'")
    if axes != 2:
        raise reader.wrong("encoder", "encodec_seanet_encoder", "two-dimensional for model 'freq_codec'")
    first, second = (reader.one_of(field, name, tuple(DOMAINS), _DOMAINS_REFUSED) for name in stated)
    return first, second


def _segments(
    reader: ConfigReader, model: str, settings: Mapping[str, Any], sample_rate: int
) -> SegmentConfig | None:
    """Return how utterances are cut, or None when they are encoded whole."""
    seconds, overlap = settings.get("segment_dur", SEGMENT_SECONDS), settings.get("overlap_ratio")
    overlap = OVERLAP if overlap is None else overlap
    if seconds is None:
        return None
    if model != "encodec":
        raise reader.refused("model_conf.segment_dur", seconds, _NO_SEGMENTS[model])
    for field, value, holds in (
        ("segment_dur", seconds, seconds > 0),
        ("overlap_ratio", overlap, 0 <= overlap < 1),
    ):
        if isinstance(value, bool) or not holds:
            needed = "seconds above 0, or null" if field == "segment_dur" else "at least 0 and below 1"
            raise reader.wrong(f"model_conf.{field}", value, needed)
    length = int(seconds * sample_rate)
    if length < 1:
        raise reader.wrong("model_conf.segment_dur", seconds, "at least one sample")
    return SegmentConfig(length=length, stride=max(1, int((1 - overlap) * length)))


def _phones(reader: ConfigReader, settings: Mapping[str, Any]) -> PhoneConfig:
    """Return how the decoder of a semantic-augmented model reads phones."""
    field, conf = "model_conf.ppg_conf", settings.get("ppg_conf")
    if not isinstance(conf, Mapping) or conf.keys() != _SEMANTIC:
        raise reader.wrong(field, conf, f"a mapping with {', '.join(sorted(_SEMANTIC))}")
    reader.one_of(f"{field}.ppg_ds_type", conf["ppg_ds_type"], ("conv",))
    reader.one_of(f"{field}.ppg_usage_mod", conf["ppg_usage_mod"], ("concat",), _MODES_REFUSED)
    return PhoneConfig(
        num_phones=reader.integer(f"{field}.ppg_dim", conf["ppg_dim"]),
        per_frame=reader.integer(f"{field}.ppg_ds_rate", conf["ppg_ds_rate"]),
    )
