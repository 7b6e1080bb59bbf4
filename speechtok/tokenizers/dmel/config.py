"""The constants of the dMel tokenizer: one dataclass, no weights, no statistics of any corpus."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class DMelConfig:
    """Says how speech becomes mel levels and how mel levels become speech again.

    The first group of fields fixes the codes, the second (`synthesis_…`, `griffin_lim_…`) only how
    codes are turned back into a waveform. Levels are in dB relative to a full-scale sine: with the
    window scaled to sum to 2, a sine of amplitude 1 has magnitude 1 in its own Fourier bin.

    Raises:
        ValueError: a field is outside its range; the message names it.

    Source:
        Bai et al. 2024, dMel: Speech Tokenization Made Simple, arXiv:2407.15835.
    """

    sample_rate: int = 16000
    """Samples per second of the waveform, in Hz."""

    num_channels: int = 80
    """Mel channels per frame; each is one codebook."""

    num_levels: int = 16
    """Levels of the grid, which all channels share; 16 levels are 4 bits."""

    hop_length: int = 320
    """Samples from one frame to the next; 320 at 16 kHz gives 50 frames per second."""

    window_length: int = 640
    """Samples that one frame sees, as a Hann window centred on the frame's hop."""

    fft_length: int = 640
    """Points of the analysis Fourier transform, at least `window_length`."""

    min_hz: float = 0.0
    """Lower edge of the lowest mel filter, in Hz."""

    max_hz: float = 8000.0
    """Upper edge of the highest mel filter, in Hz, at most half of `sample_rate`."""

    min_db: float = -90.0
    """Lower edge of level 0, in dB; anything below also becomes level 0."""

    max_db: float = -10.0
    """Upper edge of the highest level, in dB; anything above also becomes the highest level."""

    silence_db: float = -120.0
    """Value that level 0 stands for in synthesis, in dB: less than one 16-bit step as a waveform."""

    synthesis_hop_length: int = 80
    """Samples from one synthesis frame to the next; divides `hop_length`."""

    synthesis_window_length: int = 512
    """Samples of the Hann window, and points of the Fourier transform, in synthesis."""

    griffin_lim_iterations: int = 32
    """Number of phase reconstruction steps; the time to decode is proportional to it."""

    griffin_lim_momentum: float = 0.99
    """Weight of the previous change in each step; 0 is plain Griffin-Lim, 1 and above may diverge."""

    def __post_init__(self) -> None:
        for name in (
            "sample_rate",
            "num_channels",
            "hop_length",
            "synthesis_hop_length",
            "griffin_lim_iterations",
        ):
            _require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        _require(self.num_levels >= 2, "num_levels", "at least 2", self.num_levels)
        _require(
            self.window_length >= self.hop_length and (self.window_length - self.hop_length) % 2 == 0,
            "window_length",
            f"hop_length ({self.hop_length}) plus an even number, at least 0",
            self.window_length,
        )
        _require(
            self.fft_length >= self.window_length and self.fft_length % 2 == 0,
            "fft_length",
            f"even and at least window_length ({self.window_length})",
            self.fft_length,
        )
        _require(
            0 <= self.min_hz < self.max_hz <= self.sample_rate / 2,
            "min_hz and max_hz",
            f"in order and within 0 to {self.sample_rate / 2:g} Hz",
            (self.min_hz, self.max_hz),
        )
        _require(self.min_db < self.max_db, "max_db", f"above min_db ({self.min_db:g})", self.max_db)
        _require(
            self.hop_length % self.synthesis_hop_length == 0,
            "synthesis_hop_length",
            f"a divisor of hop_length ({self.hop_length})",
            self.synthesis_hop_length,
        )
        extra = self.synthesis_window_length - self.synthesis_hop_length
        _require(
            extra >= self.synthesis_hop_length and extra % 2 == 0 and self.synthesis_window_length % 2 == 0,
            "synthesis_window_length",
            f"even, at least twice synthesis_hop_length ({self.synthesis_hop_length}) and of its parity",
            self.synthesis_window_length,
        )

    @property
    def step_db(self) -> float:
        """Width of one level, in dB."""
        return (self.max_db - self.min_db) / self.num_levels


def _require(holds: bool, name: str, needs: str, got: object) -> None:
    if not holds:
        raise ValueError(f"{name} must be {needs}, but is {got}. Change this field of DMelConfig.")
