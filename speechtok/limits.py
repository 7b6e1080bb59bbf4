"""What reading a file may cost: bounds in one place, and the helpers that keep them.

Conventions: a file from elsewhere is read only when it is a regular file, and no further than a stated number of
bytes, stored and inflated. Every helper ends what goes beyond in one sentence that names the file, as an error of
the kind the caller asks for.

Contents: the bounds, `require_sizes`, `require_regular_file`, `read_bytes`, `read_json`, `parse_json`, `inflate`, `inflated_bytes`,
`Bounded`, `bounded_lines`.
"""

from __future__ import annotations

import bz2
import io
import json
import lzma
import math
import re
import stat
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

from speechtok.errors import SpeechtokError
from speechtok.wording import size_text

MIB = 2**20
"""Bytes."""
JSON_BYTES = 16 * MIB
"""Length of a JSON file that is read whole; the largest published config has some 10 kB, as objects it takes tenfold."""
YAML_BYTES = MIB // 2
"""Length of a YAML text; cards and recipes have some kB, and half a MiB takes the parser ten seconds."""
YAML_VALUES = 100_000
"""Values of a YAML text, each alias counted as what it stands for; a text of that length holds as many without."""
COLUMNS = 10_000
"""Columns of a list of recordings; published ones have some tens."""
RECORDING_SECONDS = 1e8
"""Length of one recording, and the latest time in one: three years."""
TEXT_BYTES = MIB
"""Length of the transcript of one recording; an hour of speech takes some 60 kB."""
LINE_BYTES = 64 * MIB
"""Length of one line of a text file; ten hours of units in one line take 10 MB."""
INFLATION = 200
"""How many times its stored length a compressed text may have; transcripts reach 10, lists of repeated units 100."""
INFLATED_BYTES = 64 * MIB
"""Length that any compressed file may have, however small it is stored."""
DICTIONARY_BYTES = 256 * MIB
"""Memory an xz or lzma stream may claim for its dictionary; the highest preset takes 65 MiB."""
ALIGNMENT_BYTES = 64 * MIB
"""Length of a file of alignments or pronunciations; an hour of speech takes some 5 MB as TextGrid, 500,000 words take 15 MB."""
AUDIO_RATES = (500, 6_144_000)
"""Hz that a recording may have; speech begins at 4,000, and no converter goes beyond. Others would take gigabytes to resample."""
WAVEFORM_SAMPLES = 2**28
"""Samples that are held as one waveform, 1 GiB and half of what a job's reader may have: 4.6 hours at 16 kHz."""
SAMPLES_PER_BYTE = 6554
"""Samples of one channel that a byte can hold at most: those of a FLAC file of silence, 65,535 in 10 bytes."""
FOOTER_BYTES = 32 * MIB
"""Length of the footer of a Parquet file; 100,000 column chunks take about 25 MB."""
AUDIO_STREAMS = 4096
"""Recordings that may be joined in one file; a day of radio has some hundreds, and each takes a millisecond to open."""

CENTRES_BYTES = 512 * MIB
"""Length of a k-means file, stored and inflated; 10,000 centres of 2,048 channels in float64 take 164 MB."""
PICKLE_STEPS = 1_000_000
"""Steps of the program that a pickle is; 40 make a tensor, so 25,000 tensors fit, and they take seconds."""
PICKLED_BYTES = 256 * MIB
"""Bytes a pickle may hold itself, beside the tensors and arrays that follow it."""
ARCHIVE_LIST_BYTES = 8 * MIB
"""Length of the list of records in a torch file, and of the header of a safetensors file: some 50,000 tensors."""
WEIGHT_ENTRIES = 100_000
"""Entries of a weights file, counted with each path that leads to them; the largest published ones have 5,000."""
ENTRY_NAME = 1000
"""Characters of the name of such an entry."""
TENSOR_REUSE = 16
"""How many times the length of a file its tensors may take: those that share numbers, or repeat one."""

SIZES_IN_LIST = 256
"""Numbers in one list of a config, such as strides."""
_SIZES = (
    (r"(^|_)layers?$", 1000),
    (r"^num_(?!units|levels)", 1024),
    (r"iterations$", 10_000),
    (r"_length$", 65_536),
    (r"", 2**20),
)
"""Name of a setting → the largest number it may be, where a pattern is found first."""

_KINDS = {
    stat.S_ISFIFO: "a named pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
    stat.S_ISDIR: "a folder",
}


class _Openable(Protocol):
    """A path on a disk or in a store."""

    def open(self, mode: Literal["rb"]) -> Any: ...


def require_sizes(
    values: Mapping[str, Any], source: str, *, error: type[SpeechtokError] = SpeechtokError
) -> None:
    """Refuse settings with sizes that no network or transform has, before anything is made of them.

    Args:
        values: Name → value; whole numbers, lists of them and sections are looked at.
        source: What the message calls their origin.
        error: Kind of error to raise.

    Raises:
        SpeechtokError: of that kind, naming the field.
    """
    for name, value in values.items():
        if isinstance(value, Mapping):
            require_sizes(
                {key: item for key, item in value.items() if isinstance(key, str)}, source, error=error
            )
        most = next(most for pattern, most in _SIZES if re.search(pattern, name))
        items = value if isinstance(value, list | tuple) else (value,)
        if len(items) > SIZES_IN_LIST:
            raise error(f"{source} has {len(items)} values in field {name}, which may have {SIZES_IN_LIST}.")
        for item in items:
            if isinstance(item, int) and abs(item) > most:
                raise error(f"{source} has a number beyond {most:,} in field {name}, the largest it may be.")


def require_regular_file(
    path: Path, what: str = "file", *, error: type[SpeechtokError] = SpeechtokError
) -> None:
    """Refuse what is no regular file (a link to one is), so that opening it cannot wait or run on for ever.

    Args:
        path: Where it should lie.
        what: What the message calls it, such as "weights file".
        error: Kind of error to raise.

    Raises:
        SpeechtokError: of that kind, when there is none, it cannot be looked at, or it is a pipe, device or folder.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise error(f"There is no {what} '{path}'.") from None
    except (OSError, ValueError) as reason:  # ValueError: a NUL in the name
        raise error(f"The {what} '{path}' cannot be read ({reason}).") from None
    if not stat.S_ISREG(mode):
        found = next((name for test, name in _KINDS.items() if test(mode)), "something else")
        raise error(f"'{path}' is {found}, not a {what}.")


def read_bytes(
    path: _Openable, limit: int, what: str = "file", *, error: type[SpeechtokError] = SpeechtokError
) -> bytes:
    """Return a whole file of at most `limit` bytes, on a disk or in a store.

    Raises:
        SpeechtokError: of the kind `error`, when it is longer, no regular file, or cannot be read.
    """
    if isinstance(path, Path):
        require_regular_file(path, what, error=error)
    try:
        with path.open("rb") as file:
            content: bytes = file.read(limit + 1)
    except OSError as reason:
        raise error(f"The {what} '{path}' cannot be read ({reason}).") from reason
    if len(content) > limit:
        raise error(f"The {what} '{path}' is longer than {size_text(limit)}, the most that is read of one.")
    return content


def read_json(
    path: _Openable,
    what: str = "file",
    *,
    error: type[SpeechtokError] = SpeechtokError,
    limit: int = JSON_BYTES,
) -> Any:
    """Return the value in a JSON file of at most `limit` bytes, as `parse_json` does.

    Raises:
        SpeechtokError: of the kind `error`.
    """
    return parse_json(read_bytes(path, limit, what, error=error), f"'{path}'", error=error)


def parse_json(text: str | bytes, source: str, *, error: type[SpeechtokError] = SpeechtokError) -> Any:
    """Return the value of a JSON text that has finite numbers alone.

    Args:
        text: The text; bytes are UTF-8, with or without a byte order mark.
        source: What the message calls its origin.
        error: Kind of error to raise.

    Raises:
        SpeechtokError: of that kind, when it is no JSON, is nested too deeply, or has a number that is not finite.
    """
    try:
        decoded = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        return json.loads(decoded, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise error(f"{source} cannot be read as JSON (it is nested too deeply).") from None
    except ValueError as reason:
        raise error(f"{source} cannot be read as JSON ({reason}).") from None


def inflate(data: bytes, limit: int) -> bytes:
    """Return compressed bytes as they were: a zlib, gzip, bz2, xz or lzma stream, told by its first bytes.

    Others are returned as they are.

    Raises:
        ValueError: when more than `limit` bytes come out, when a stream is damaged or cut, or when something follows.
    """
    if data.startswith(b"\x1f\x8b"):
        stream: Any = zlib.decompressobj(wbits=31)
    elif data.startswith(b"BZh"):
        stream = bz2.BZ2Decompressor()
    elif data.startswith((b"\xfd7zXZ", b"]\0\0")):
        stream = lzma.LZMADecompressor(memlimit=DICTIONARY_BYTES)
    elif (
        len(data) > 1 and data[0] == 0x78 and int.from_bytes(data[:2]) % 31 == 0
    ):  # as the header of zlib is checked
        stream = zlib.decompressobj()
    else:
        return data
    try:
        content: bytes = stream.decompress(data, limit + 1)
    except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:
        raise ValueError(f"its compressed stream is damaged: {error}") from None
    if len(content) > limit:
        raise ValueError(f"it inflates to more than {size_text(limit)}")
    if not stream.eof or stream.unused_data:
        raise ValueError(
            "bytes follow its compressed stream" if stream.eof else "its compressed stream is cut short"
        )
    return content


def inflated_bytes(stored: int) -> int:
    """Return how long a compressed file of `stored` bytes may become."""
    return max(INFLATED_BYTES, INFLATION * stored)


class Bounded(io.RawIOBase):
    """A stream that ends in an error when more bytes are read from it than agreed.

    Args:
        stream: What is read, such as a `gzip.GzipFile`.
        limit: The most bytes, as `inflated_bytes` gives them.
        source: What the message calls it.
        error: Kind of error to raise.
    """

    def __init__(
        self, stream: BinaryIO, limit: int, source: str, *, error: type[SpeechtokError] = SpeechtokError
    ) -> None:
        self._stream, self._left = stream, limit
        self._refusal = error(
            f"{source} inflates to more than {size_text(limit)}, the most that is read of it."
        )

    def readable(self) -> bool:
        """Say yes, as `io` asks."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, and count.

        Raises:
            SpeechtokError: beyond the limit.
        """
        content = self._stream.read(len(buffer))
        self._left -= len(content)
        if self._left < 0:
            raise self._refusal
        buffer[: len(content)] = content
        return len(content)


def bounded_lines(
    stream: BinaryIO, source: str, *, error: type[SpeechtokError] = SpeechtokError, limit: int = LINE_BYTES
) -> Iterator[bytes]:
    """Yield the lines of a stream, each with its end, none longer than `limit` bytes.

    Raises:
        SpeechtokError: of the kind `error`, naming `source` and the line.
    """
    number = 0
    while line := stream.readline(limit + 1):
        number += 1
        if len(line) > limit:
            raise error(
                f"Line {number} of {source} is longer than {size_text(limit)}, the most that is read of one."
            )
        yield line


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text} is not finite")
    return value
