"""Coverage-guided fuzzing of the readers of files from elsewhere, with atheris (`pip install atheris`).

    python tests/hostile/fuzz_readers.py TARGET --minutes 60 --seeds DIR

`TARGET` is one of kmeans, torch, safetensors, card, config and parquet. `DIR` keeps the inputs that reach new code, and
begins with small files that the product or its libraries write; findings lie in `DIR/findings`. A reader may refuse an
input with a `SpeechtokError`. Any other error, a dead process, more than 20 s of CPU time or ten minutes on one input or
more memory than `--memory-mb` is a finding. Python code of the package and of the parsers it uses is instrumented.

Three ends are told apart, in words, by the exit status and in a JSON line appended to `DIR/log.jsonl`: the whole time was
used and nothing found (0), something was found (1), the run ended early for another reason and proves nothing (2).
"""

from __future__ import annotations

import argparse
import datetime
import faulthandler
import importlib.metadata
import io
import json
import platform
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import atheris
import numpy as np
import pyarrow
import pyarrow.parquet
import safetensors.torch
import torch

with atheris.instrument_imports(include=["speechtok", "pickletools", "yaml", "dacite", "json"]):
    from speechtok import TokenDataset
    from speechtok.cards import TokenizerCard, find_card, list_tokenizers, read_tokenizer_card
    from speechtok.cards.recipe import read_recipe
    from speechtok.cards.yaml_file import read_yaml
    from speechtok.checkpoints.read import load_plain, read_shapes, read_state_dict
    from speechtok.errors import SpeechtokError
    from speechtok.shards.parquet import read_parquet_rows
    from speechtok.shards.schema import token_schema
    from speechtok.shards.writer import ShardWriter
    from speechtok.tokenizers.dmel.config import DMelConfig
    from speechtok.tokenizers.facodec.config import FacodecConfig
    from speechtok.tokenizers.facodec_24k.config import Facodec24kConfig
    from speechtok.tokenizers.facodec_24k.published_config import read_codec_config, read_redecoder_config
    from speechtok.tokenizers.funcodec.convert import published_shapes
    from speechtok.tokenizers.funcodec.published_config import parse_config
    from speechtok.tokenizers.units.config import UnitConfig
    from speechtok.tokenizers.units.kmeans import read_centers
    from speechtok.tokenizers.units.sources import read_settings
    from speechtok.tokens import StreamInfo, TokenizerInfo

GOLDENS = Path(__file__).parents[1] / "goldens"
CPU_SECONDS = 20
WAITED_SECONDS = 600
LONGEST = 2**16
DEADLY = {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGPROF}
CURRENT = "current"
CONFIGS = {"dmel": DMelConfig, "facodec": FacodecConfig, "facodec_24k": Facodec24kConfig, "units": UnitConfig}


def kmeans(data: bytes, folder: Path) -> None:
    """Read a file that is told by its first bytes, as a torch file too."""
    for name in ("km.bin", "km.pt"):
        _refusable(lambda name=name: read_centers(_written(folder / name, data)))


def torch_file(data: bytes, folder: Path) -> None:
    """Read a whole file, or, after the letter P, a pickle in an archive whose checksums are right."""
    path = folder / "w.pt"
    if data[:1] == b"P":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", data[1:])
            archive.writestr("archive/data/0", bytes(64))
            archive.writestr("archive/data/1", bytes(64))
    else:
        _written(path, data[1:])
    for read in (read_shapes, read_state_dict, load_plain):
        _refusable(lambda read=read: read(path))


def safetensors_file(data: bytes, folder: Path) -> None:
    path = _written(folder / "w.safetensors", data)
    _refusable(lambda: read_shapes(path))
    read_state_dict(path)


def card(data: bytes, folder: Path) -> None:
    path = _written(folder / "card.yaml", data)
    _refusable(lambda: read_recipe(path))
    found: TokenizerCard = read_tokenizer_card(path)
    if found.family in CONFIGS:
        found.build_config(CONFIGS[found.family])


def config(data: bytes, folder: Path) -> None:
    """Read a config of FunCodec, of FAcodec, or JSON beside the parts of a unit tokenizer, told by the first letter."""
    kind, text = data[:1], data[1:]
    if kind == b"F":
        published_shapes(parse_config(read_yaml(_written(folder / "config.yaml", text)), "config.yaml"))
    elif kind == b"C":
        path = _written(folder / "config.yml", text)
        _refusable(lambda: read_redecoder_config(Facodec24kConfig(), path))
        read_codec_config(Facodec24kConfig(), path)
    else:
        for name in ("vocoder/config.json", "speaker/config.json", "vocoder/speakers.json"):
            (folder / name).parent.mkdir(exist_ok=True)
            path = _written(folder / name, text)
            _refusable(lambda name=name, path=path: read_settings(UnitConfig(), {name: path}))


def parquet(data: bytes, folder: Path) -> None:
    path = _written(folder / "rows.parquet", data)
    _refusable(lambda: [None for _ in read_parquet_rows(path)])
    rows = TokenDataset(path)
    for index in range(min(len(rows), 4)):
        _refusable(lambda index=index: rows[index])
        _refusable(lambda index=index: rows.tokens(index))


TARGETS: dict[str, Callable[[bytes, Path], None]] = {
    "kmeans": kmeans,
    "torch": torch_file,
    "safetensors": safetensors_file,
    "card": card,
    "config": config,
    "parquet": parquet,
}


def seeds(target: str) -> list[bytes]:
    """Return inputs to begin with: small files that are right."""
    tensors = {"a.weight": torch.ones(3, 2), "b": torch.arange(4)}
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "seed"
        if target == "kmeans":
            np.savez(path, centers=np.ones((3, 2)))
            torch.save({"centers": tensors["a.weight"]}, path.with_suffix(".pt"))
            made = [path.with_suffix(suffix).read_bytes() for suffix in (".npz", ".pt")]
            return made + [file.read_bytes() for file in sorted((GOLDENS / "units").glob("kmeans*"))]
        if target == "safetensors":
            return [safetensors.torch.save(tensors)]
        if target == "torch":
            made = []
            objects = (
                {"m": tensors, "n": 1, "o": {0: torch.ones(2)}},
                {"f0_mean": np.float64(1.5), "p": Path("a")},
            )
            for content in objects:
                for new in (True, False):
                    torch.save(content, path, _use_new_zipfile_serialization=new)
                    made.append(b"R" + path.read_bytes())
                with io.BytesIO() as file:
                    torch.save(content, file)
                    with zipfile.ZipFile(file) as archive:
                        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
                        made.append(b"P" + archive.read(name))
            return made
        if target == "card":
            return [find_card(name)[1].read_bytes() for name in list_tokenizers()[:12]]
        if target == "config":
            published = sorted(GOLDENS.rglob("*.yaml")) + sorted(GOLDENS.rglob("*.yml"))
            flags = {
                "f0_normalize": True,
                "f0_median": False,
                "f0_stats": "a/f0_stats.pth",
                "model_type": "wavlm",
            }
            simple = (
                b"model: encodec\nquantizer: costume_quantizer\nencoder: encodec_seanet_encoder\ninput_size: 1\n"
                b"encoder_conf: {ratios: [8, 5, 4, 2], norm: weight_norm, seq_model: lstm}\n"
                b"quantizer_conf: {num_quantizers: 8, sampling_rate: 16000}\nmodel_conf: {audio_normalize: true}\n"
            )
            codec = b"model_params:\n  lstm: 2\n  DAC: {encoder_dim: 64, encoder_rates: [2, 5, 5, 6], decoder_dim: 1536}\n"
            own = [b"F" + simple, b"C" + codec, b"J" + json.dumps(flags).encode(), b'J{"p225": 0, "p226": 1}']
            return own + [letter + file.read_bytes() for file in published for letter in (b"F", b"C")]
        return [_token_file(path), _plain_parquet(path)]


def _token_file(path: Path) -> bytes:
    streams = (
        StreamInfo(name="content", num_codebooks=1, codebook_size=500, frame_rate=50.0, hop_length=320),
        StreamInfo(name="residual", num_codebooks=3, codebook_size=1024, frame_rate=50.0, hop_length=320),
    )
    info = TokenizerInfo(
        name="toy",
        fingerprint="f",
        sample_rate=16_000,
        streams=streams,
        speaker_embedding_dim=4,
        has_scale=True,
    )
    row = {
        "id": "a",
        "num_samples": 640,
        "duration": 0.04,
        "content": np.ones((1, 2), dtype=np.uint16),
        "residual": np.ones((3, 2), dtype=np.uint16),
        "speaker_embedding": np.ones(4, dtype=np.float32),
        "scale": 0.5,
        "audio": "a.wav",
        "source_sample_rate": 8000,
        "text": "a",
        "speaker": None,
        "language": None,
    }
    with ShardWriter(path, token_schema(info, {"name": "toy"}, {}), info) as writer:
        writer.add(row)
        writer.add(row | {"id": "b"})
    return path.read_bytes()


def _plain_parquet(path: Path) -> bytes:
    table = pyarrow.table({"path": ["a.wav", "b.wav"], "rate": [1.5, None], "codes": [[1, 2], []]})
    pyarrow.parquet.write_table(table, path, compression="none")
    return path.read_bytes()


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _refusable(read: Callable[[], object]) -> None:
    with suppress(SpeechtokError):
        read()


def _fuzz(target: str, folder: Path, current: Path, options: list[str]) -> None:
    faulthandler.register(signal.SIGPROF, chain=True)
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)

        def once(data: bytes) -> None:
            current.write_bytes(data)
            signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
            _refusable(lambda: TARGETS[target](data, place))
            signal.setitimer(signal.ITIMER_PROF, 0)

        atheris.Setup([sys.argv[0], *options, str(folder)], once)
        atheris.Fuzz()


def _watched(command: list[str]) -> tuple[int, int]:
    """Run a command, repeat what it tells, and return its exit status and how many inputs it tried."""
    runs = 0
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace") as process:
        for line in process.stderr or ():
            sys.stderr.write(line)
            if told := re.match(r"#(\d+)\s|Done (\d+) runs", line):
                runs = max(runs, *(int(number) for number in told.groups() if number))
    return process.returncode, runs


def main() -> int:
    """Fuzz in a process of its own, whose death is a finding, and return the exit status that the docstring states."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seeds", type=Path, required=True, help="folder of inputs, kept between runs")
    parser.add_argument("--memory-mb", type=int, default=2048)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    inputs, findings = arguments.seeds / arguments.target, arguments.seeds / "findings"
    for folder in (inputs, findings):
        folder.mkdir(parents=True, exist_ok=True)
    current = findings / f"{arguments.target}-{CURRENT}"
    if arguments.here:
        options = [
            f"-max_total_time={round(arguments.minutes * 60)}",
            f"-rss_limit_mb={arguments.memory_mb}",
            f"-timeout={WAITED_SECONDS}",
            f"-max_len={LONGEST}",
            f"-artifact_prefix={findings}/{arguments.target}-",
        ]
        _fuzz(arguments.target, inputs, current, options)
        return 0
    for number, content in enumerate(seeds(arguments.target)):
        (inputs / f"seed-{number}").write_bytes(content)
    for path in findings.glob(f"{arguments.target}-*"):
        path.rename(path.with_name(f"earlier-{path.name}"))
    begun, began = len(list(inputs.iterdir())), time.monotonic()
    status, runs = _watched([sys.executable, *sys.argv, "--here"])
    seconds = time.monotonic() - began
    if -status in DEADLY:
        current.rename(findings / f"{arguments.target}-{signal.Signals(-status).name}")
    current.unlink(missing_ok=True)
    found = sorted(path.name for path in findings.glob(f"{arguments.target}-*"))
    whole = status == 0 and runs > 0 and seconds >= arguments.minutes * 60
    outcome, code = ("found", 1) if found else ("nothing found", 0) if whole else ("ended early", 2)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    record = {
        "target": arguments.target,
        "outcome": outcome,
        "found": found,
        "exit_status": status,
        "minutes": arguments.minutes,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "runs": runs,
        "inputs_at_the_start": begun,
        "inputs_at_the_end": len(list(inputs.iterdir())),
        "largest_mb": round(usage.ru_maxrss / 1024),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in ("atheris", "numpy", "pyarrow", "torch")},
    }
    with (arguments.seeds / "log.jsonl").open("a") as log:
        log.write(json.dumps(record) + "\n")
    sys.stdout.write(
        f"{arguments.target}: {outcome} in {seconds:.0f} s and {runs} runs, exit status {status}\n"
    )
    for name in found:
        sys.stdout.write(f"{findings / name}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
