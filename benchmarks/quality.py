"""How intelligible is speech that went through a tokenizer? STOI of decoded against original.

    python benchmarks/quality.py CORPUS --tokenizer dmel_16k --json benchmarks/results/quality.json

Source: Taal et al. 2011, An Algorithm for Intelligibility Prediction of Time-Frequency Weighted Noisy
Speech, IEEE TASLP 19(7); computed by the pystoi package.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from machine import describe_machine, write_figures
from pystoi import stoi

from speechtok import load_tokenizer
from speechtok.audio.io import read_waveform
from speechtok.corpora import read_corpus


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--tokenizer", default="dmel_16k")
    parser.add_argument("--checkpoint")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer = load_tokenizer(arguments.tokenizer, checkpoint=arguments.checkpoint)
    corpus = read_corpus(arguments.corpus)
    scores, seconds, encode_seconds, decode_seconds = {}, 0.0, 0.0, 0.0
    for utterance in corpus.utterances:
        original = read_waveform(corpus.root / utterance.audio, sample_rate=tokenizer.sample_rate)
        begun = time.perf_counter()
        tokens = tokenizer.encode(original.samples)
        encoded = time.perf_counter()
        decoded = tokenizer.decode(tokens)[0].numpy()
        encode_seconds, decode_seconds = (
            encode_seconds + encoded - begun,
            decode_seconds + time.perf_counter() - encoded,
        )
        seconds += original.duration
        scores[utterance.id] = float(stoi(original.samples, decoded, tokenizer.sample_rate))
        print(f"{scores[utterance.id]:.4f}  {utterance.id}")
    values = np.array(list(scores.values()))
    result = {
        "machine": describe_machine(),
        "tokenizer": arguments.tokenizer,
        "corpus": corpus.name,
        "files": len(values),
        "bitrate_bps": tokenizer.info.bitrate_bps,
        "stoi_mean": float(values.mean()),
        "stoi_lowest": float(values.min()),
        "encode_times_real_time": seconds / encode_seconds,
        "decode_times_real_time": seconds / decode_seconds,
        "stoi": scores,
    }
    print(
        f"STOI {result['stoi_mean']:.4f} on average, lowest {result['stoi_lowest']:.4f}, {len(values)} files; one thread: "
        f"encode {result['encode_times_real_time']:.0f}, decode {result['decode_times_real_time']:.0f} × real time"
    )
    write_figures(result, arguments.json)


if __name__ == "__main__":
    main()
