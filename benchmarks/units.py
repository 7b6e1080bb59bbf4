"""The unit family on 10 s of audio, one thread, in CPU seconds and yardsticks: `python benchmarks/units.py`.

Networks have random weights of the published sizes; time does not depend on their values.
"""

import argparse
from collections.abc import Callable

import numpy as np
import torch
from yardstick import best, yardstick

from speechtok.audio.pitch import extract_pitch
from speechtok.nets.weight_norm import fold
from speechtok.tokenizers.units.hubert import Hubert
from speechtok.tokenizers.units.hubert_extractor import HubertSettings
from speechtok.tokenizers.units.kmeans import KMeans
from speechtok.tokenizers.units.vocoder import UnitVocoder, VocoderSettings
from speechtok.tokenizers.units.xvector import XVector


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    samples = int(16_000 * arguments.seconds)
    time_axis = np.arange(samples) / 16_000
    gate = np.sin(2 * np.pi * 2.3 * time_axis) > -0.3
    hum = sum(np.sin(2 * np.pi * 130 * k * time_axis + 2 * np.sin(6 * time_axis)) / k for k in range(1, 20))
    signal = 0.3 * gate * hum + 0.01 * np.random.default_rng(0).standard_normal(samples)
    waveform, lengths = torch.from_numpy(signal).float()[None], torch.tensor([samples])
    hubert, kmeans, xvector = Hubert(HubertSettings()).eval(), KMeans(100, 768), XVector().eval()
    vocoder = UnitVocoder(VocoderSettings()).eval()
    fold(vocoder)
    units = torch.randint(100, (1, samples // 1280 * 4))
    pitch = torch.randint(20, (1, samples // 1280))
    unit = yardstick()
    with torch.inference_mode():
        voice = vocoder.voice(torch.tensor([0]))
        contour = torch.zeros(1, samples // 80)
        runs: dict[str, Callable[[], object]] = {
            "layer-6 units": lambda: kmeans(hubert(waveform, lengths)),
            "pitch contour": lambda: extract_pitch(signal),
            "pitch codes": lambda: vocoder.quantizer.encode(contour),
            "x-vector": lambda: xvector(waveform, lengths),
            "vocoder": lambda: vocoder(units, pitch, voice),
        }
        print(f"yardstick {unit:.3f} s")
        for name, run in runs.items():
            seconds = best(run, arguments.rounds)
            print(f"{name:14} {seconds:.3f} s  {seconds / unit:.2f} y")


if __name__ == "__main__":
    main()
