import gc
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, settings

import speechtok
from speechtok.storage import as_path
from tests.s3 import ENVIRONMENT, Proxy, create_bucket, s3_server

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")


def pytest_runtest_teardown(item, nextitem):
    """Forget the weights that the tests of one folder keep, before those of the next make theirs."""
    if nextitem is not None and nextitem.path.parent == item.path.parent:
        return
    for name, module in list(sys.modules.items()):
        if name.startswith("tests."):
            for value in vars(module).values():
                if hasattr(value, "cache_clear"):
                    value.cache_clear()
    gc.collect()


@pytest.fixture(scope="session", autouse=True)
def surroundings(tmp_path_factory):
    """No network, caches below the temporary folder, and this copy of speechtok in every subprocess."""
    cache = tmp_path_factory.mktemp("huggingface")
    root = Path(speechtok.__file__).parents[1]
    values = {
        "HF_HOME": str(cache),
        "HF_DATASETS_CACHE": str(cache / "datasets"),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")])),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        patch.delenv("SPEECHTOK_CARDS", raising=False)
        yield


def speech(seconds, rate=16000, seed=0):
    """A buzz that glides and swells, float32, peak near 0.5: something with harmonics and pauses."""
    t = np.arange(round(seconds * rate)) / rate
    pitch = 120 + 40 * (seed % 5) + 20 * np.sin(2 * np.pi * t)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    buzz = sum(np.sin(k * phase) / k for k in range(1, 8))
    noise = np.random.default_rng(seed).standard_normal(len(t))
    return (0.2 * buzz * (0.6 + 0.4 * np.sin(5 * t)) + 0.01 * noise).astype(np.float32)


@pytest.fixture(name="speech", scope="session")
def speech_fixture():
    return speech


@pytest.fixture(scope="session")
def write_corpus():
    """Write a folder of recordings: name → seconds, or bytes to write as they are."""

    def write(folder, recordings, rate=16000):
        for seed, (name, content) in enumerate(recordings.items()):
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                path.write_bytes(content)
            else:
                subtype = None if path.suffix == ".mp3" else "PCM_16"
                soundfile.write(path, speech(content, rate, seed), rate, subtype=subtype)
        return Path(folder)

    return write


@pytest.fixture(scope="session")
def run_python():
    """Run a script in a fresh interpreter; what it prints comes back."""

    def run(script, *arguments, **options):
        done = subprocess.run(
            [sys.executable, "-c", script, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            **options,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


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
    network = Wav2Vec2ForCTC(Wav2Vec2Config(vocab_size=len(letters), **_small_network()))
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
        tdnn_dim=(16, 16, 16, 16, 32), xvector_output_dim=16, num_labels=2, **_small_network()
    )
    Wav2Vec2ForXVector(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return str(folder)


def _small_network():
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


@pytest.fixture
def miniature(tmp_path, write_corpus):
    """Write a well-known corpus below a temporary folder."""
    from tests.miniatures import MINIATURES

    return lambda name: MINIATURES[name](tmp_path, write_corpus)


@pytest.fixture(scope="session")
def hub_server():
    """One Hub for all tests: parts of its client keep the address that they met first."""
    from tests.local_hub import serve

    server, url = serve()
    yield server.hub, url
    server.shutdown()
    server.server_close()


@pytest.fixture
def hub(hub_server, tmp_path, monkeypatch):
    """An empty Hub on this machine that the client of this process, and of those it starts, talks to."""
    from huggingface_hub import constants

    from tests.local_hub import TOKEN

    hub, url = hub_server
    hub.forget()
    hub.token = TOKEN
    environment = {
        "HF_ENDPOINT": url,
        "HF_TOKEN": TOKEN,
        "HF_HUB_OFFLINE": "0",
        "HF_DATASETS_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(tmp_path / "hub-home"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    changed = {
        "ENDPOINT": url,
        "HUGGINGFACE_CO_URL_TEMPLATE": url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_HOME": str(tmp_path / "hub-home"),
        "HF_HUB_CACHE": str(tmp_path / "hub-home" / "hub"),
        "HF_TOKEN_PATH": str(tmp_path / "hub-home" / "token"),
    }
    for name, value in changed.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr("speechtok.hub.faults.FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr("speechtok.hub.faults.ATTEMPTS", 3)
    return hub


@pytest.fixture(scope="session")
def s3_process():
    """Address of a real S3 server, a process of its own."""
    with s3_server() as address:
        yield address


@pytest.fixture
def s3(s3_process, monkeypatch, tmp_path):
    """A new, empty bucket as `StorePath`, with the environment that leads to it."""
    from speechtok.storage.stores import forget_stores

    for name, value in (ENVIRONMENT | {"AWS_ENDPOINT_URL": s3_process}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SPEECHTOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("speechtok.storage.stores.FIRST_PAUSE_SECONDS", 0.01)
    bucket = f"b{uuid.uuid4().hex}"
    create_bucket(s3_process, bucket)
    forget_stores()
    yield as_path(f"s3://{bucket}")
    forget_stores()


@pytest.fixture
def s3_proxy(s3, s3_process, monkeypatch):
    """The same bucket, reached through a proxy that can be told to make faults."""
    from speechtok.storage.stores import forget_stores

    proxy = Proxy(s3_process)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
    forget_stores()
    yield proxy
    proxy.close()
