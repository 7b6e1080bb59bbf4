"""Recordings that libsndfile reads: WAV, FLAC, Ogg, MP3, AIFF, NIST Sphere and their kin.

libsndfile shortens a cut file without a word, but its log tells what the header promised; this
module reads that log. Where a seek is not exact, reading begins earlier:

- MP3: at the start of the file. After a seek the decoder misses its bit reservoir and complains on
  standard error. One hour is passed over in about a second.
- Opus: ten seconds before. The decoder converges only slowly to what continuous reading gives.
- FLAC without a length in its header, and what cannot be sought in at all: at the start of the file.

GSM 6.10 in WAV is stored in blocks of 65 bytes. libsndfile takes the byte that pads an odd number of them
for one more block, which it then finds truncated; here only whole blocks count.
"""

import io
import os
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechtok.audio.info import AudioInfo
from speechtok.audio.source import PIECE_SAMPLES, Recording, trim, unreadable
from speechtok.audio.spans import Content, Spans, Stream
from speechtok.audio.survey import survey
from speechtok.limits import SAMPLES_PER_BYTE

_OPUS_PREROLL_SECONDS = 10
_UNKNOWN_LENGTH = 2**62

_PROMISED_BYTES = re.compile(
    r"^ *(?:data|SSND|BODY|Data Size|riff) *: (\d+) \(should be (\d+)\)|Data length (\d+) should be (\d+)",
    re.MULTILINE,
)
_PROMISED_RF64 = re.compile(r"Calculated frame count (\d+) does not match value from 'ds64' chunk of (\d+)")
_SEEMS_CUT = re.compile(r"seems to be truncated|lacks an end-of-stream bit", re.IGNORECASE)
_GSM_BLOCKS = re.compile(
    r"^ *Block Align *: (\d+)$.*^ *Samples/Block *: (\d+)$.*^data : (\d+)$", re.MULTILINE | re.DOTALL
)
_NIST_LENGTH = re.compile(rb"^sample_count -i (\d+)", re.MULTILINE)


class SndfileSource:
    """One recording opened by libsndfile."""

    def __init__(self, recording: Recording, container: str | None, head: bytes, stream: Stream) -> None:
        self._recording = recording
        self._container, self._head, self._stream = container, head, stream
        self._is_put_together = bool(stream.spans) and not stream.lies_so
        try:
            self._descriptor = os.open(recording.path, os.O_RDONLY)
        except OSError as error:  # it was there a moment ago
            raise unreadable(recording.name, f"the system says {error.strerror!r}") from None
        try:
            self._file = self._open()
        except BaseException:
            os.close(self._descriptor)
            raise
        try:
            if stream.lies_so and self._file.frames < (stream.num_samples or 0):
                self._file.close()
                self._is_put_together = True
                self._file = self._open()
            self._format, self._subtype = self._file.format, self._file.subtype  # each asks libsndfile
            is_gsm = (self._format, self._subtype) == ("WAV", "GSM610")
            self._gsm_samples = _gsm_samples(self._file.extra_info) if is_gsm else None
            self._check_length()
            self._is_open_ended = self._file.frames >= _UNKNOWN_LENGTH
            self._piece_samples = max(PIECE_SAMPLES * 8 // max(self._file.channels, 8), 1)
            self.info = self._read_info()
        except BaseException:
            self.close()
            raise

    def begins(self, first: int) -> int:
        """Return where to begin reading so that sample `first` is the one of continuous reading."""
        if self._format == "MP3" or self._is_open_ended or not self._is_seekable:
            return 0
        if self._subtype == "OPUS":
            return max(first - _OPUS_PREROLL_SECONDS * self.info.sample_rate, 0)
        return first

    def pieces(self, first: int, stop: int | None) -> Generator[NDArray[np.float32]]:
        """Yield `(samples, channels)` from sample `first` up to `stop`, or to the end if that is None."""
        start = self.begins(first)
        stop = self._gsm_samples if stop is None else stop
        self._go_to(start)
        yield from trim(self._decode(stop), first - start, None if stop is None else stop - start)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
        os.close(self._descriptor)

    def _open(self) -> Any:
        file = _open(self._recording, self._place(), self._container, self._head)
        self._position, self._is_seekable = 0, file.seekable()
        # soundfile seeks after each read of a seekable file, which upsets the MP3 decoder and fails
        # at the end of a FLAC file of unknown length.
        file.seekable = lambda: False
        return file

    def _place(self) -> Any:
        """Return what libsndfile reads from: the descriptor, or a file-like object of what it should see."""
        if self._is_put_together:
            return io.BufferedReader(Spans(self._descriptor, self._stream.spans))
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        return self._descriptor

    def _go_to(self, start: int) -> None:
        """Let the next piece begin at sample `start`, which is 0 where a seek is not to be trusted."""
        if start == self._position:
            return
        import soundfile

        if start:
            try:
                self._file.seek(start)
            except soundfile.LibsndfileError as error:
                raise unreadable(
                    self._recording.name,
                    f"going to {start / self.info.sample_rate:.3f} s fails ({_words(error)}); the file is cut or damaged",
                ) from None
        else:
            self._file.close()
            self._file = self._open()
        self._position = start

    def _check_length(self) -> None:
        """Raise if the file holds no samples, or fewer than its header promises."""
        path, name, file = self._recording.path, self._recording.name, self._file
        log = file.extra_info
        promise = _broken_promise(log)
        if promise is None and _SEEMS_CUT.search(log) and self._gsm_samples is None:
            promise = (
                "it ends without the mark of a last page" if self._format == "OGG" else "its end is missing"
            )
        if self._format == "NIST":
            stated = _NIST_LENGTH.search(_first_bytes(path, 1024))
            if stated and int(stated[1]) > file.frames:
                promise = f"its header promises {stated[1].decode()} samples, it holds {file.frames}"
        if promise:
            raise unreadable(name, f"the file is cut: {promise}")
        num_bytes = os.fstat(self._descriptor).st_size
        if SAMPLES_PER_BYTE * num_bytes < file.frames < _UNKNOWN_LENGTH:
            raise unreadable(
                name, f"its header promises {file.frames} samples, which its {num_bytes} bytes cannot hold"
            )
        if file.frames:
            return
        raise unreadable(name, "it holds no samples")

    def _read_info(self) -> AudioInfo:
        file = self._file
        rate, num_samples = int(file.samplerate), int(file.frames)
        if self._is_open_ended:
            num_samples = sum(len(piece) for piece in self._decode(None))
        num_samples = min(num_samples, self._gsm_samples or num_samples)
        if self._stream.num_samples is not None:
            num_samples = min(num_samples, self._stream.num_samples)
        return AudioInfo(
            sample_rate=rate,
            num_channels=int(file.channels),
            num_samples=num_samples,
            format=f"{self._format}/{self._subtype}",
        )

    def _decode(self, stop: int | None) -> Generator[NDArray[np.float32]]:
        """Yield pieces from where the file stands until `stop` is reached, or the end if that is None."""
        is_whole = stop is None and self._position == 0
        if stop is None and not self._is_open_ended:
            stop = self.info.num_samples  # and no further, for what others put behind is not to be decoded
        while stop is None or self._position < stop:
            wanted = self._piece_samples if stop is None else min(self._piece_samples, stop - self._position)
            piece = self._read_piece(wanted)
            self._position += len(piece)
            if len(piece):
                yield piece
            if len(piece) < wanted:
                break
        self._check_end(stop)
        if is_whole:
            self._check_rest()

    def _read_piece(self, wanted: int) -> NDArray[np.float32]:
        import soundfile

        buffer = np.empty((wanted, self._file.channels), np.float32)
        try:
            read: NDArray[np.float32] = self._file.read(out=buffer)
        except soundfile.LibsndfileError as error:
            begin = self._position / self._file.samplerate
            end = begin + wanted / self._file.samplerate
            raise unreadable(
                self._recording.name,
                f"decoding fails between {begin:.1f} s and {end:.1f} s ({_words(error)}); the file is cut or damaged",
            ) from None
        return read

    def _check_end(self, stop: int | None) -> None:
        """Raise if the file ended before what its header promises."""
        if self._is_open_ended:
            return
        wanted = self.info.num_samples if stop is None else stop
        if self._position < wanted:
            rate = self.info.sample_rate
            raise unreadable(
                self._recording.name,
                f"the file is cut: it ends after {self._position / rate:.3f} s, its header promises "
                f"{self.info.num_samples / rate:.3f} s",
            )

    def _check_rest(self) -> None:
        """Raise if the file goes on behind the end that its header states.

        When it was opened, its beginning and end were looked at; having read it all, one can look at all of it.
        """
        content, (spans, num_samples, _) = Content(self._descriptor), self._stream
        is_last = not spans or (len(spans) == 1 and range(content.size)[-1] in spans[0])
        if not is_last or num_samples is not None or self._is_open_ended:
            return
        try:
            found = survey(content, is_exact=True).streams or (Stream(),)
        except ValueError as error:
            raise unreadable(self._recording.name, str(error)) from None
        except OSError as error:
            raise unreadable(self._recording.name, f"the system says {error.strerror!r}") from None
        if self._stream not in found:
            raise unreadable(
                self._recording.name,
                f"its header promises {self.info.duration:.3f} s, which is not what the file holds: it was joined from "
                "several, or the header is wrong; convert it anew",
            )


def _open(recording: Recording, place: Any, container: str | None, head: bytes) -> Any:
    """Return the opened `soundfile.SoundFile`, or raise with a reason a person can use."""
    import soundfile

    try:
        # By descriptor, for soundfile takes any name ending in .raw for headerless.
        return soundfile.SoundFile(place, closefd=False)
    except soundfile.LibsndfileError as error:
        detail = _words(error)
    if container is not None:
        reason = f"its {container} header is cut or malformed ({detail})"
    elif Path(recording.name).suffix.lower() in (".raw", ".pcm"):
        reason = (
            "it has no header, so rate, channels and sample format are unknown; convert it to WAV, "
            "or name it FILE#rate=HZ if it holds 16-bit mono samples"
        )
    elif all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        reason = "it is not audio but text"
    else:
        reason = f"it is not audio in a known format ({detail}); convert it to WAV or FLAC"
    raise unreadable(recording.name, reason)


def _first_bytes(path: Path, num_bytes: int) -> bytes:
    with path.open("rb") as file:
        return file.read(num_bytes)


def _broken_promise(log: str) -> str | None:
    """Return what libsndfile's log says of a header that promises more than the file holds."""
    for match in _PROMISED_BYTES.finditer(log):
        promised, held = (int(group) for group in match.groups() if group is not None)
        if promised > held and not _means_unknown(promised):
            return f"its header promises {promised} bytes of samples, it holds {held}"
    for match in _PROMISED_RF64.finditer(log):
        held, promised = int(match[1]), int(match[2])
        if promised > held and not _means_unknown(promised):
            return f"its header promises {promised} samples, it holds {held}"
    return None


def _gsm_samples(log: str) -> int | None:
    """Return the samples in the GSM blocks of a WAV file, by libsndfile's log; None if a part of a block is missing."""
    stated = _GSM_BLOCKS.search(log)  # without "should be": the file holds what its header states
    align, samples, num_bytes = (int(group) for group in stated.groups()) if stated else (1, 0, 1)
    return samples * (num_bytes // align) if num_bytes % align == 0 else None


def _means_unknown(num_bytes: int) -> bool:
    """Return whether a length is one that streaming encoders write before they know it."""
    return min(abs(num_bytes - 2**31), abs(num_bytes - 2**32)) <= 2**16 or num_bytes >= 2**62


def _words(error: Any) -> str:
    """Return libsndfile's own words for what went wrong."""
    return str(error.error_string).removeprefix("Error : ").removeprefix("Error in ").rstrip(".")
