"""How good is a codec at each bit rate? `python -m benchmarks.codec_quality TOKENIZER CLIP… [--codebooks N…] [--output FILE]`.

Clips are decoded at 16 kHz with the first 3, 6, 12 … codebooks, and compared with what went in; the ends of the intervals are those of
95 %. Beside them stand two anchors, where their programs are installed (Debian: opus-tools, codec2): Opus at 6 kbit/s in frames of 60 ms,
and codec2 at 3.2 kbit/s, which knows 8 kHz only.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

import speechtok
from benchmarks.machine import describe_machine, write_figures
from speechtok.audio.io import read_waveform
from speechtok.audio.resample import resample
from speechtok.commands.evaluate import EvaluationSettings, evaluate_pairs

RATE = 16000
MEASURES = ("stoi", "pesq_wb", "mel_distance", "f0_rmse_cents")
MOST_SECONDS = 10.0
Samples = np.ndarray[Any, np.dtype[np.float32]]
Codec = Callable[[Samples, Path], Samples]
"""Speech and a folder for files to what is heard."""


def opus(waveform: Samples, folder: Path) -> Samples:
    """Return what is heard after Opus at 6 kbit/s."""
    soundfile.write(folder / "in.wav", waveform, RATE)
    run("opusenc", "--quiet", "--bitrate", "6", "--framesize", "60", folder / "in.wav", folder / "a.opus")
    run("opusdec", "--quiet", "--rate", str(RATE), folder / "a.opus", folder / "out.wav")
    return fitted(soundfile.read(folder / "out.wav", dtype="float32")[0], len(waveform))


def codec2(waveform: Samples, folder: Path) -> Samples:
    """Return what is heard after codec2 at 3.2 kbit/s."""
    narrow = resample(waveform.astype(np.float64), RATE, 8000)
    (folder / "in.raw").write_bytes((narrow.clip(-1, 1) * 32767).astype("<i2").tobytes())
    run("c2enc", "3200", folder / "in.raw", folder / "a.bit")
    run("c2dec", "3200", folder / "a.bit", folder / "out.raw")
    heard = np.frombuffer((folder / "out.raw").read_bytes(), "<i2") / 32768
    return fitted(resample(heard, 8000, RATE).astype(np.float32), len(waveform))


def run(*words: str | Path) -> None:
    """Run a program, and end with what it says where it fails."""
    subprocess.run([str(word) for word in words], check=True, capture_output=True, timeout=60)


def fitted(heard: Samples, length: int) -> Samples:
    """Return samples cut to a length, or filled with silence."""
    return np.pad(heard[:length], (0, max(0, length - len(heard))))


def codecs(tokenizer: speechtok.SpeechTokenizer, numbers: list[int]) -> dict[str, tuple[float, Codec]]:
    """Return name → bit rate and codec."""

    def with_first(number: int) -> Codec:
        return lambda waveform, folder: tokenizer.decode(tokenizer.encode(waveform, num_codebooks=number))[
            0
        ].numpy()

    (stream,) = tokenizer.streams
    bits = stream.frame_rate * np.log2(stream.codebook_size)
    found: dict[str, tuple[float, Codec]] = {
        f"{tokenizer.name}, {number} codebooks": (number * bits, with_first(number)) for number in numbers
    }
    if shutil.which("opusenc") and shutil.which("opusdec"):
        found["Opus"] = (6000, opus)
    if shutil.which("c2enc"):
        found["codec2 (8 kHz)"] = (3200, codec2)
    return found


def measured(clips: dict[str, Samples], codec: Codec) -> dict[str, Any]:
    """Return the mean of each measure, and its interval."""
    with tempfile.TemporaryDirectory() as place:
        folder, lines = Path(place), ["reference\tdecoded"]
        for number, waveform in enumerate(clips.values()):
            soundfile.write(folder / f"{number}.wav", waveform, RATE, subtype="FLOAT")
            soundfile.write(folder / f"{number}.out.wav", codec(waveform, folder), RATE, subtype="FLOAT")
            lines.append(f"{number}.wav\t{number}.out.wav")
        (folder / "pairs.tsv").write_text("\n".join(lines) + "\n")
        found = evaluate_pairs(folder / "pairs.tsv", settings=EvaluationSettings(measures=MEASURES))
    told = {}
    for name in MEASURES:
        summary = found.summaries[name]
        told[name] = {"mean": summary.mean, "low": summary.low, "high": summary.high, "clips": summary.count}
    return told


def main() -> None:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tokenizer")
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--codebooks", type=int, nargs="+", default=[3, 6, 12])
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    tokenizer = speechtok.load_tokenizer(given.tokenizer)
    clips = {
        path.name: read_waveform(path, sample_rate=RATE, channels="mean").samples[: int(MOST_SECONDS * RATE)]
        for path in given.clips
    }
    figures: dict[str, Any] = {"clips": sorted(clips), "codecs": []}
    for name, (bits, codec) in codecs(tokenizer, given.codebooks).items():
        found = measured(clips, codec)
        figures["codecs"].append({"codec": name, "bits_per_second": bits, **found})
        shown = ", ".join(
            f"{key} {value['mean']:.3f} ({value['low']:.3f} to {value['high']:.3f})"
            for key, value in found.items()
        )
        print(f"{name}, {bits:.0f} bit/s: {shown}", flush=True)
    write_figures({**describe_machine(), **figures}, given.output)


if __name__ == "__main__":
    main()
