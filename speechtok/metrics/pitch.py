"""Does the voice rise and fall alike? Errors of pitch and voicing.

Sources: Nakatani et al. 2008, A method for fundamental frequency estimation and voicing decision, Speech Communication
50(3) (voicing decision error, gross pitch error); Chu and Alwan 2009, Reducing F0 Frame Error of F0 tracking
algorithms under noisy conditions, ICASSP, equations 1 to 3 (F0 frame error).

Conventions: contours are `(frames,)` in Hz, 0 where unvoiced, of the same length. Errors are shares from 0 to 1.

Contents: `PitchErrors`, `compare_contours`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from speechtok.errors import AudioError

Contour = np.ndarray[Any, np.dtype[np.float64]]

GROSS_SHARE = 0.2
"""A pitch off by more than this share of the true one is a gross error."""


@dataclass(frozen=True, kw_only=True)
class PitchErrors:
    """What differs between two contours."""

    frames: int
    """Frames compared."""
    voicing_errors: int
    """Frames voiced in one contour only."""
    gross_errors: int
    """Frames voiced in both whose pitch is off by more than 20 %."""
    differences_hz: Contour
    """Difference of pitch where both are voiced, `(frames voiced in both,)`."""
    differences_cents: Contour
    """Likewise, in hundredths of a semitone."""

    @property
    def vde(self) -> float:
        """Voicing decision error: share of frames voiced in one only."""
        return self.voicing_errors / self.frames

    @property
    def gpe(self) -> float:
        """Gross pitch error: share, of frames voiced in both, that are off by more than 20 %.

        Raises:
            AudioError: when no frame is voiced in both.
        """
        return self.gross_errors / len(self._voiced_in_both("Gross pitch error"))

    @property
    def ffe(self) -> float:
        """F0 frame error: share of frames with either error."""
        return (self.voicing_errors + self.gross_errors) / self.frames

    @property
    def rmse_hz(self) -> float:
        """Root mean square difference of pitch in Hz.

        Raises:
            AudioError: when no frame is voiced in both.
        """
        return float(np.sqrt(np.mean(self._voiced_in_both("F0 RMSE") ** 2)))

    @property
    def rmse_cents(self) -> float:
        """Root mean square difference of pitch in cents.

        Raises:
            AudioError: when no frame is voiced in both.
        """
        self._voiced_in_both("F0 RMSE")
        return float(np.sqrt(np.mean(self.differences_cents**2)))

    def _voiced_in_both(self, what: str) -> Contour:
        if not len(self.differences_hz):
            raise AudioError(f"{what} is undefined: no frame is voiced in both.")
        return self.differences_hz


def compare_contours(reference: Contour, decoded: Contour) -> PitchErrors:
    """Return the errors of a contour.

    Args:
        reference: `(frames,)`, Hz, the truth.
        decoded: `(frames,)`, Hz.

    Raises:
        ValueError: when there is no frame, or the lengths differ.
    """
    if reference.shape != decoded.shape or not len(reference):
        raise ValueError(
            f"Contours must have one length above 0, got {len(reference)} and {len(decoded)} frames."
        )
    both = (reference > 0) & (decoded > 0)
    truth, found = reference[both], decoded[both]
    return PitchErrors(
        frames=len(reference),
        voicing_errors=int(((reference > 0) != (decoded > 0)).sum()),
        gross_errors=int((np.abs(found - truth) > GROSS_SHARE * truth).sum()),
        differences_hz=found - truth,
        differences_cents=1200 * np.log2(found / truth),
    )
