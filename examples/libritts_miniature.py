"""Write a LibriTTS of five recordings: the English clips that come with speechtok, in the folders of the published corpus.

    python examples/libritts_miniature.py OUTPUT

The last one speaks alone; the others have another utterance of their speaker.
"""

import argparse
import csv
from pathlib import Path

import soundfile

from speechtok.demo.demonstration import BROKEN, CORPUS


def write(output: Path) -> Path:
    """Return the folder `LibriTTS` in `output`."""
    with CORPUS.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["language"].startswith("en")]
    numbers = {
        name: 101 + number for number, name in enumerate(dict.fromkeys(row["speaker"] for row in rows))
    }
    for line, row in enumerate(row for row in rows if row["audio"] != BROKEN):
        speaker = numbers[row["speaker"]]
        folder = output / "LibriTTS/train-clean-100" / f"{speaker}" / "1"
        folder.mkdir(parents=True, exist_ok=True)
        stem = f"{speaker}_1_{line:06d}_000000"
        samples, rate = soundfile.read(CORPUS.parent / row["audio"], always_2d=True)
        soundfile.write(folder / f"{stem}.wav", samples.mean(axis=1), rate)
        (folder / f"{stem}.normalized.txt").write_text(row["text"], encoding="utf-8")
    return output / "LibriTTS"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="folder for the corpus")
    print(write(parser.parse_args().output))
