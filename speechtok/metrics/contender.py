"""One tokenizer of a comparison: its rate, its quality, its speed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechtok.metrics.evaluation import Evaluation
from speechtok.tokens import TokenizerInfo


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One tokenizer of a comparison."""

    info: TokenizerInfo
    """The tokenizer."""
    dataset: Path
    """The token dataset it made."""
    evaluation: Evaluation
    """Quality, and how its codes are used."""
    encode_speed: float | None
    """Seconds of audio tokenized per second, reading and writing included; None where it is not known."""
    failed: int
    """Utterances in quarantine."""

    @property
    def decode_speed(self) -> float | None:
        """Seconds of audio decoded per second."""
        spent = self.evaluation.decode_seconds
        return self.evaluation.seconds / spent if spent else None

    @property
    def entropy_bps(self) -> float:
        """Bits per second that an ideal code for the frequency of each code would take."""
        streams = self.evaluation.statistics.streams if self.evaluation.statistics else ()
        return sum(float(item.entropy.sum()) * item.stream.frame_rate for item in streams)

    @property
    def stored_bps(self) -> float:
        """Bits per second on disk, all columns together."""
        return self.evaluation.statistics.stored_bps if self.evaluation.statistics else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, without the rows."""
        found = self.evaluation.to_dict()
        return {
            "tokenizer": self.info.name,
            "fingerprint": self.info.fingerprint,
            "bitrate_bps": self.info.bitrate_bps,
            "entropy_bps": self.entropy_bps,
            "stored_bps": self.stored_bps,
            "encode_times_real_time": self.encode_speed,
            "decode_times_real_time": self.decode_speed,
            "quarantined": self.failed,
            "summaries": found["summaries"],
        }
