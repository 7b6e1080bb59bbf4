"""CTM files: one line per word or phone with the utterance, a channel, start, duration and label.

Source: NIST, sclite documentation, "ctm"; further columns (confidence, type, speaker) are left aside, and so are comments after `;;`. Kaldi, the
Montreal Forced Aligner and NeMo's forced aligner write it.

Contents: `read_ctm`, `parse_ctm`.
"""

from __future__ import annotations

import math

from speechtok.errors import DatasetError
from speechtok.formats.intervals import Interval
from speechtok.limits import ALIGNMENT_BYTES, read_bytes
from speechtok.storage import AnyPath


def read_ctm(path: AnyPath) -> dict[str, list[Interval]]:
    """Return utterance → intervals, in the order of the file.

    Raises:
        DatasetError: naming the file and the line.
    """
    return parse_ctm(read_bytes(path, ALIGNMENT_BYTES, "CTM file", error=DatasetError), str(path))


def parse_ctm(content: bytes, source: str) -> dict[str, list[Interval]]:
    """Return utterance → intervals of the bytes of a file, in UTF-8.

    Raises:
        DatasetError: naming `source` and the line.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{source} is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8."
        ) from None
    found: dict[str, list[Interval]] = {}
    channels: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        fields = line.split()
        if not fields or fields[0].startswith(";;"):
            continue
        place = f"{source} line {number}"
        try:
            name, channel, start, duration, label = fields[:5]
            begin, length = float(start), float(duration)
            if not (math.isfinite(begin) and math.isfinite(length) and begin >= 0 and length >= 0):
                raise ValueError
        except ValueError:
            raise DatasetError(
                f"{place} must be 'utterance channel start duration label' with times in seconds, got '{line.strip()[:60]}'."
            ) from None
        if channels.setdefault(name, channel) != channel:
            raise DatasetError(
                f"{place} is of channel {channel} of '{name}', which has channel {channels[name]} too; give a file for each."
            )
        found.setdefault(name, []).append(Interval(start=begin, end=begin + length, label=label))
    return found
