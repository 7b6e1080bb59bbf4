"""Where a recording lies: a file of its own, or a part of one.

Conventions: a location is written as text, so that it can be a column of a table. It is the path of a
file; what follows a `#` says which part of it is meant, as the fragment of an address does:

- `call.wav#channel=1`: one channel of a file, counted from 0.
- `000.tar#offset=1536&bytes=48213&member=a/utt1.flac`: a member of a tar archive, by its place.
- `wav.ark#offset=6`: a WAV recording that begins there, as in Kaldi's archives; its header says where it ends.
- `train-00000.parquet#row=17&column=audio`: a cell of a Parquet or Arrow file, rows counted from 0.
- `call.pcm#rate=8000`: a file without a header, mono, 16-bit little-endian integers at that rate in Hz.

A `#` that is not followed by one of these belongs to the path.

Contents: `Location`, `location_of`, `is_location`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from speechtok.storage import Place

_PART = re.compile(
    r"^(?P<path>.+?)#(?=channel=\d|offset=\d|row=\d|rate=[1-9])(?:channel=(?P<channel>\d{1,18})(?:&|$))?"
    r"(?:offset=(?P<offset>\d{1,18})(?:&bytes=(?P<bytes>\d{1,18})&member=(?P<member>.*))?"
    r"|row=(?P<row>\d{1,18})&column=(?P<column>.+)|rate=(?P<rate>\d{1,18}))?$",
    re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class Location:
    """A recording's place."""

    path: str
    """The file."""
    channel: int | None = None
    """The only channel that is meant, from 0; None means all."""
    offset: int | None = None
    """Where the recording's bytes begin in the file; None for a whole file or a cell."""
    bytes: int | None = None
    """How many bytes it has, when `offset` is given; None where its own header tells."""
    member: str | None = None
    """What the archive calls it; for readers, the bytes are found by `offset`."""
    row: int | None = None
    """Row of a Parquet or Arrow file, from 0, whose cell holds the recording."""
    column: str | None = None
    """Column of that cell."""
    rate: int | None = None
    """Hz of a file of samples without a header; None for all other files."""

    @property
    def is_whole_file(self) -> bool:
        """Whether the recording is a file of its own."""
        return self.offset is None and self.row is None

    def __str__(self) -> str:
        parts = [] if self.channel is None else [f"channel={self.channel}"]
        if self.offset is not None:
            rest = "" if self.bytes is None else f"&bytes={self.bytes}&member={self.member or ''}"
            parts.append(f"offset={self.offset}{rest}")
        if self.row is not None:
            parts.append(f"row={self.row}&column={self.column}")
        if self.rate is not None:
            parts.append(f"rate={self.rate}")
        return f"{self.path}#{'&'.join(parts)}" if parts else self.path


def location_of(audio: Place) -> Location:
    """Return the place that `audio` names; text without such a part is a path as it stands."""
    text = str(audio)
    found = _PART.match(text)
    if not found:
        return Location(path=text)
    numbers = {name: found[name] for name in ("channel", "offset", "bytes", "row", "rate")}
    return Location(
        path=found["path"],
        member=found["member"],
        column=found["column"],
        **{name: None if value is None else int(value) for name, value in numbers.items()},
    )


def is_location(text: str) -> bool:
    """Return whether text names a part of a file, so that no file of this name could be told from it."""
    return _PART.match(text) is not None
