"""Make the demonstration corpus again: `python -m speechtok.demo.make_clips`.

Needs the program `espeak-ng` (Debian and Ubuntu: `apt-get install espeak-ng`). The clips are
committed and shipped, so nobody needs this to use the library. The same espeak-ng makes the same
samples; clips/README.md names the version used.

The corpus is small and varied on purpose: twelve sentences in six languages, male and female
voices, three sample rates, one stereo file, and one file that is cut off in the middle.
"""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from speechtok.audio.resample import resample

CLIPS = Path(__file__).with_name("clips")
"""Folder of the clips and their manifest."""
PEAK = 0.7
"""Largest sample of every clip, of full scale."""
EDGE_SECONDS = 0.1
"""Silence left before and after the speech."""
COLUMNS = ("audio", "text", "speaker", "language")
"""Columns of the manifest."""

Samples = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One sentence and how it is spoken."""

    audio: str
    """File inside the corpus."""
    text: str
    """What is said."""
    speaker: str
    """Name of the voice in the manifest."""
    language: str
    """Language tag; also the voice of espeak-ng."""
    variant: str
    """Variant of that voice, such as "f3"."""
    words_per_minute: int = 165
    """Speed."""
    pitch: int = 50
    """Pitch, from 0 to 99."""
    sample_rate: int = 22050
    """Hz; espeak-ng itself speaks at 22050."""
    stereo: bool = False
    """Two channels, the right one later and softer, as from a pair of microphones."""
    keep: float = 1.0
    """Share of the file's bytes that is kept; less than 1 breaks the file."""


SENTENCES = (
    Clip(
        audio="de/lena-1.flac",
        text="Aus Sprache werden Zahlen, und aus den Zahlen wird wieder Sprache.",
        speaker="lena",
        language="de",
        variant="f2",
        pitch=60,
        words_per_minute=150,
    ),
    Clip(
        audio="de/otto-1.flac",
        text="Hörst du den Unterschied, oder hörst du keinen?",
        speaker="otto",
        language="de",
        variant="m3",
        pitch=35,
        sample_rate=44100,
        words_per_minute=140,
    ),
    Clip(
        audio="en-gb/maud-1.flac",
        text="The kettle sings in the kitchen while rain taps softly on the window.",
        speaker="maud",
        language="en-gb",
        variant="f4",
        pitch=55,
        words_per_minute=155,
    ),
    Clip(
        audio="en-gb/maud-2.flac",
        text="Would you read that sentence again, a little slower this time?",
        speaker="maud",
        language="en-gb",
        variant="f4",
        pitch=55,
        words_per_minute=155,
    ),
    Clip(
        audio="en-us/ada-1.flac",
        text="Every second of speech becomes fifty short columns of numbers.",
        speaker="ada",
        language="en-us",
        variant="f3",
        pitch=65,
        sample_rate=16000,
        words_per_minute=160,
    ),
    Clip(
        audio="en-us/ada-2.flac",
        text="Nothing is lost twice, and nothing is counted twice.",
        speaker="ada",
        language="en-us",
        variant="f3",
        pitch=65,
        sample_rate=16000,
        words_per_minute=160,
    ),
    Clip(
        audio="en-us/finn-1.flac",
        text="This recording has two microphones, but only one voice comes back.",
        speaker="finn",
        language="en-us",
        variant="m7",
        pitch=30,
        sample_rate=44100,
        words_per_minute=170,
        stereo=True,
    ),
    Clip(
        audio="en-us/finn-2.flac",
        text="You will never hear the end of this sentence, because the file was cut in half.",
        speaker="finn",
        language="en-us",
        variant="m7",
        pitch=30,
        sample_rate=16000,
        words_per_minute=170,
        keep=0.5,
    ),
    Clip(
        audio="es/ines-1.flac",
        text="Siete barcos pequeños cruzan la bahía antes del amanecer.",
        speaker="ines",
        language="es",
        variant="f5",
        pitch=58,
        words_per_minute=150,
    ),
    Clip(
        audio="es/raul-1.flac",
        text="Mañana, a las nueve, empezamos de nuevo.",
        speaker="raul",
        language="es",
        variant="m1",
        pitch=45,
        sample_rate=16000,
        words_per_minute=145,
    ),
    Clip(
        audio="fr/remy-1.flac",
        text="Le vent du soir apporte une odeur de pain chaud et de mer.",
        speaker="remy",
        language="fr",
        variant="m4",
        pitch=40,
        words_per_minute=150,
    ),
    Clip(
        audio="it/bice-1.flac",
        text="Chi va piano ascolta meglio il rumore della neve.",
        speaker="bice",
        language="it",
        variant="f1",
        pitch=70,
        sample_rate=16000,
        words_per_minute=140,
    ),
    Clip(
        audio="pt/davi-1.flac",
        text="A ponte velha guarda o som de todos os passos.",
        speaker="davi",
        language="pt",
        variant="m2",
        pitch=48,
        words_per_minute=145,
    ),
)
"""The corpus, in the order of its manifest."""


def make_clips(folder: Path) -> None:
    """Write all clips and `manifest.tsv` into a folder.

    Raises:
        FileNotFoundError: when espeak-ng is not installed.
        subprocess.CalledProcessError: when espeak-ng fails.
    """
    for clip in SENTENCES:
        content = encode_flac(clip, speak(clip))
        path = folder / clip.audio
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content[: int(len(content) * clip.keep)])
    with (folder / "manifest.tsv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE)
        table.writerow(COLUMNS)
        table.writerows([getattr(clip, column) for column in COLUMNS] for clip in SENTENCES)


def speak(clip: Clip) -> Samples:
    """Return a clip's speech at its sample rate: `(samples,)`, peak at `PEAK`."""
    voice = f"{clip.language}+{clip.variant}"
    command = ["espeak-ng", "--stdout", "-v", voice, "-s", str(clip.words_per_minute), "-p", str(clip.pitch)]
    spoken = subprocess.run([*command, clip.text], check=True, capture_output=True).stdout
    # espeak-ng cannot seek back in a pipe, so its header states no length
    samples = np.frombuffer(spoken[44:], dtype="<i2") / 32768
    rate = int.from_bytes(spoken[24:28], "little")
    loud = np.flatnonzero(np.abs(samples) > 0.01)
    edge = round(EDGE_SECONDS * rate)
    samples = np.pad(samples[loud[0] : loud[-1] + 1], edge)
    samples = resample(samples, rate, clip.sample_rate)
    return np.asarray(samples * PEAK / np.abs(samples).max())


def encode_flac(clip: Clip, samples: Samples) -> bytes:
    """Return a clip as the bytes of a 16-bit FLAC file."""
    import soundfile

    if clip.stereo:
        delay = round(0.0004 * clip.sample_rate)
        samples = np.stack([samples, 0.8 * np.pad(samples, (delay, 0))[: len(samples)]], axis=1)
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, clip.sample_rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


if __name__ == "__main__":
    make_clips(CLIPS)
    size = sum(path.stat().st_size for path in CLIPS.rglob("*.flac"))
    sys.stdout.write(f"{len(SENTENCES)} clips, {size:,} bytes, in {CLIPS}\n")
