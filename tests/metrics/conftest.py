import json

import numpy as np
import pytest

from speechtok.audio.io import read_waveform
from speechtok.demo.run import CORPUS

CLIPS = ("en-us/ada-1.flac", "de/otto-1.flac", "es/ines-1.flac")
SNRS_DB = (40, 25, -5)
"""Copies of speech with this much noise, from good to bad."""


@pytest.fixture(scope="session")
def clips():
    """Three clips of speech at 16 kHz, float64."""
    return [
        read_waveform(CORPUS.parent / name, sample_rate=16000).samples.astype(np.float64) for name in CLIPS
    ]


@pytest.fixture(scope="session")
def damaged(clips):
    """Copies of each clip, with more and more of the same noise."""
    copies = []
    for clip in clips:
        noise = np.random.default_rng(5).standard_normal(len(clip))
        noise *= np.linalg.norm(clip) / np.linalg.norm(noise)
        copies.append([clip + noise * 10 ** (-snr / 20) for snr in SNRS_DB])
    return copies


@pytest.fixture(scope="session")
def recogniser(tmp_path_factory):
    """A folder with a small speech recogniser of random weights, as transformers saves one."""
    import torch
    from transformers import (
        Wav2Vec2Config,
        Wav2Vec2CTCTokenizer,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2ForCTC,
        Wav2Vec2Processor,
    )

    folder = tmp_path_factory.mktemp("recogniser")
    letters = ["<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefghijklmnopqrstuvwxyz"]
    (folder / "vocab.json").write_text(json.dumps({letter: index for index, letter in enumerate(letters)}))
    torch.manual_seed(0)
    network = Wav2Vec2ForCTC(Wav2Vec2Config(vocab_size=len(letters), **small_network()))
    network.lm_head.weight.data *= 40
    network.save_pretrained(folder)
    tokenizer = Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True)
    Wav2Vec2Processor(feature_extractor=extractor, tokenizer=tokenizer).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def speaker_model(tmp_path_factory):
    """A folder with a small x-vector model of random weights."""
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForXVector

    folder = tmp_path_factory.mktemp("speaker")
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        tdnn_dim=(16, 16, 16, 16, 32), xvector_output_dim=16, num_labels=2, **small_network()
    )
    Wav2Vec2ForXVector(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return str(folder)


def small_network():
    return {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "conv_dim": (16, 16, 16),
        "conv_kernel": (10, 8, 4),
        "conv_stride": (8, 8, 5),
        "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 2,
    }
