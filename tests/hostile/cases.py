"""The hostile inputs: each case writes one into the folders of a trial, and names the commands it fits."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
import torch

from tests.hostile import payloads
from tests.hostile.judge import SECRET, Place
from tests.hostile.payloads import ESCAPES, NAMES, calls

FUNCODEC = Path(__file__).parents[1] / "goldens" / "funcodec" / "example_files" / "config.yaml"
READING = ("verify", "stats", "decode", "retry")
"""Commands that take a token dataset."""
LOADING = ("load", "check")
"""Commands that take a tokenizer."""
UNITS = """
name: test_units
family: units
description: A small composition.
sample_rate: 16000
streams:
  - {name: content, num_codebooks: 1, codebook_size: 20, frame_rate: 100.0, hop_length: 160}
architecture: {features: logmel, layer: 1, num_units: 20, hop_length: 160}
licence_code: Apache-2.0
citation: none
"""
IMPORTED = [
    "soundfile",
    "numpy",
    "numpy.core",
    "torch",
    "json",
    "pandas",
    "pyarrow",
    "ray",
    "soxr",
    "fsspec",
    "yaml",
    "click",
    "rich",
    "dacite",
    "filelock",
    "tenacity",
    "safetensors",
    "huggingface_hub",
    "jinja2",
    "matplotlib",
    "logging",
    "io",
    "os",
    "re",
    "math",
    "time",
    "signal",
    "socket",
    "struct",
    "threading",
    "subprocess",
    "tempfile",
    "shutil",
    "pathlib",
    "typing",
    "types",
    "enum",
    "abc",
    "functools",
    "itertools",
    "collections",
    "contextlib",
    "dataclasses",
    "hashlib",
    "random",
    "queue",
    "selectors",
    "multiprocessing",
    "pickle",
    "codecs",
    "encodings",
    "warnings",
    "platform",
    "site",
    "sitecustomize",
    "usercustomize",
    "scipy",
    "transformers",
    "speechtok",
    "_soundfile",
    "cffi",
    "array_api_compat",
]
QUICK = [
    "code-kmeans-bare-timeit",
    "code-vocoder-zip-system",
    "code-joblib-xz-popen",
    "code-npy-objects",
    "code-yaml-card-apply",
    "code-yaml-readme-exec",
    "code-config-speaker-attention",
    "code-job-names-tokenizer",
    "code-modules-soundfile",
    "code-kaldi-pipe",
    "code-lhotse-cuts-command",
    "code-extension-dataset",
    "read-playlist-m3u8-mp4",
    "path-splits-parent",
    "path-ids-absolute",
    "read-audio-raw",
    "link-dataset-.speechtok/events.jsonl",
    "link-weights-zero",
    "damage-plan.json-deeper",
    "damage-shard-codes-high",
    "escape-card-title",
    "escape-rows-id-clear",
    "escape-rows-speaker-page",
    "escape-files-clear",
    "escape-failure-title",
    "bomb-torch-stride",
    "bomb-npy-shape",
    "bomb-card-merges",
    "hang-fifo-a.wav",
    "hang-fifo-plan",
]
"""A few cases of each kind, for every run of the tests."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One hostile input."""

    name: str
    kind: str
    write: Callable[[Place], object]
    commands: tuple[str, ...]
    corpus: str = "corpus"
    """File or folder that is the corpus."""
    tokenizer: str = ""
    """Card that is loaded; the folder `tokenizer` of the input when empty."""


def all_cases(good: Path) -> list[Case]:
    """Return every case.

    Args:
        good: a small token dataset, of which damaged ones are made.
    """
    makers = (_code, _corpora, _names, _links, _datasets, _escapes, _bombs, _waits)
    found = [case for maker in makers for case in maker(good)]
    names = [case.name for case in found]
    assert len(set(names)) == len(names), sorted(name for name in names if names.count(name) > 1)
    return found


# ---------------------------------------------------------------------------------------------- small helpers


def _put(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content)
    return path


def _tone(path: Path, seconds: float = 0.5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.3 * np.sin(np.arange(int(16000 * seconds)) / 9), 16000)
    return path


def _lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    return _put(path, "".join(json.dumps(row) + "\n" for row in rows))


def _filled(name: str, place: Place) -> str:
    return name.replace("{outside}", str(place.outside)).replace("{trap}", str(place.trap))


def _kmeans(place: Place) -> None:
    """Write a good tokenizer of units, of which other parts are then hostile."""
    _put(place.inside / "tokenizer" / "tokenizer.yaml", UNITS)
    (place.inside / "tokenizer" / "kmeans").mkdir()
    np.save(
        place.inside / "tokenizer" / "kmeans" / "km.npy", np.random.default_rng(0).random((20, 80), "float32")
    )


def _copy(good: Path, place: Place) -> Path:
    shutil.copytree(good, place.inside / "dataset")
    return place.inside / "dataset"


def _sealed(dataset: Path) -> None:
    """Make all checksums of a dataset right, as an attacker does."""
    state = dataset / ".speechtok"
    plan = json.loads((state / "plan.json").read_text())
    plan["utterances_sha256"] = hashlib.sha256((state / "plan.parquet").read_bytes()).hexdigest()
    plan["settings_sha256"] = hashlib.sha256(
        json.dumps(plan["settings"], sort_keys=True).encode()
    ).hexdigest()
    (state / "plan.json").write_text(json.dumps(plan))
    (file,) = (dataset / "data").glob("*.parquet")
    manifest = pq.read_table(dataset / "manifest.parquet")
    stated = {"sha256": hashlib.sha256(file.read_bytes()).hexdigest(), "bytes": file.stat().st_size}
    for name, value in stated.items():
        column = pa.array([value] * len(manifest), manifest.schema.field(name).type)
        manifest = manifest.set_column(manifest.column_names.index(name), name, column)
    pq.write_table(manifest, dataset / "manifest.parquet")


def _changed_rows(good: Path, place: Place, file: str, column: str, value: Any) -> None:
    """Copy the dataset with another value in one column of one of its tables."""
    dataset = _copy(good, place)
    (path,) = dataset.glob(file)
    table = pq.read_table(path)
    values = [value, *table[column].to_pylist()[1:]]
    kind = table.schema.field(column)
    pq.write_table(
        table.set_column(table.column_names.index(column), kind, pa.array(values, kind.type)), path
    )
    _sealed(dataset)


def _changed_json(good: Path, place: Place, file: str, change: Callable[[Any], Any]) -> None:
    dataset = _copy(good, place)
    (path,) = dataset.glob(file)
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    _sealed(dataset)


def _changed_record(good: Path, place: Place, change: Callable[[Any], Any]) -> None:
    """Copy the dataset with another record of its only part."""
    path = _copy(good, place) / ".speechtok" / "parts.parquet"
    table = pq.read_table(path)
    texts = [json.dumps(change(json.loads(text))) for text in table["record"].to_pylist()]
    pq.write_table(table.set_column(1, table.schema.field("record"), pa.array(texts)), path)


def _tar(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as file:
        for info, data in members:
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))


def _sound() -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, 0.3 * np.sin(np.arange(8000) / 9), 16000, format="WAV")
    return buffer.getvalue()


# ------------------------------------------------------------------------------------------------ code in files


def _code(good: Path) -> Iterator[Case]:
    """Weights, k-means files, cards and settings that try to run something when they are read."""
    spots = {
        "kmeans": "tokenizer/kmeans/km.bin",
        "f0": "tokenizer/f0/g_00000001",
        "f0_stats": "tokenizer/vocoder/f0_stats.pth",
        "vocoder": "tokenizer/vocoder/g_00000001",
        "speaker": "tokenizer/speaker/embedding_model.ckpt",
        "features": "checkpoint/features/pytorch_model.bin",
        "fairseq": "checkpoint/features/hubert_base_ls960.pt",
        "funcodec": "checkpoint/model.pth",
        "facodec": "checkpoint/ns3_facodec_encoder.bin",
    }
    names = {"features": "hubert_base_l6_km100", "fairseq": "hubert_base_l6_km100", "facodec": "facodec"}
    names["funcodec"] = "funcodec_en_libritts_16k_nq32ds320"
    forms = {"zip": payloads.torch_zip, "old": payloads.torch_old, "bare": payloads.pickled}

    def weights(place: Place, spot: str, way: str, form: str) -> None:
        content = {"state_dict": calls(place.trap)[way], "generator": calls(place.trap)[way]}
        _weights(place, spots[spot], forms[form](content))

    ways = ("exec", "system", "timeit", "partial", "fromfile")
    for number, (spot, form) in enumerate((spot, form) for spot in spots for form in forms):
        for way in (ways[number % 5], ways[(number + 2) % 5]):
            yield Case(
                name=f"code-{spot}-{form}-{way}",
                kind="code",
                write=partial(weights, spot=spot, way=way, form=form),
                commands=LOADING if form == "zip" else ("load",),
                tokenizer=names.get(spot, ""),
            )

    def joblib(place: Place, way: str, how: str) -> None:
        import bz2
        import lzma
        import zlib

        squeeze = {
            "raw": bytes,
            "zlib": zlib.compress,
            "gzip": gzip.compress,
            "bz2": bz2.compress,
            "xz": lzma.compress,
        }
        squeeze["lzma"] = partial(lzma.compress, format=lzma.FORMAT_ALONE)
        _weights(place, spots["kmeans"], squeeze[how](payloads.pickled(calls(place.trap)[way], 4)))

    for how in ("raw", "zlib", "gzip", "bz2", "xz", "lzma"):
        for way in ("exec", "popen"):
            yield Case(
                name=f"code-joblib-{how}-{way}",
                kind="code",
                write=partial(joblib, way=way, how=how),
                commands=("load",),
            )

    def array(place: Place) -> None:
        _kmeans(place)
        (place.inside / "tokenizer/kmeans/km.npy").unlink()
        np.save(
            place.inside / "tokenizer/kmeans/km.npy",
            np.array([calls(place.trap)["exec"]], object),
            allow_pickle=True,
        )

    yield Case(name="code-npy-objects", kind="code", write=array, commands=LOADING)

    tags = {
        "apply": "!!python/object/apply:os.system ['touch {trap}']",
        "new": "!!python/object/new:os.system ['touch {trap}']",
        "exec": "!!python/object/apply:exec [\"open('{trap}', 'w')\"]",
        "name": "!!python/name:os.system",
        "module": "!!python/module:antigravity",
    }

    def tagged(place: Place, tag: str, file: str) -> None:
        value = _filled(tags[tag], place)
        if file == "tokenizer/tokenizer.yaml":
            _put(place.inside / file, f"{UNITS}description2: {value}\n")
        elif file == "dataset/README.md":
            path = _copy(good, place) / "README.md"
            path.write_text(f"---\nx: {value}\n{path.read_text().removeprefix('---')}")
        else:
            _weights(place, "checkpoint/model.pth", b"")
            (place.inside / "corpus").mkdir()
            _put(place.inside / file, f"tokenizer: {value}\n" if "recipe" in file else f"model: {value}\n")

    for tag in tags:
        yield Case(
            name=f"code-yaml-card-{tag}",
            kind="code",
            write=partial(tagged, tag=tag, file="tokenizer/tokenizer.yaml"),
            commands=LOADING,
        )
        yield Case(
            name=f"code-yaml-config-{tag}",
            kind="code",
            write=partial(tagged, tag=tag, file="checkpoint/config.yaml"),
            commands=LOADING,
            tokenizer=names["funcodec"],
        )
        yield Case(
            name=f"code-yaml-readme-{tag}",
            kind="code",
            write=partial(tagged, tag=tag, file="dataset/README.md"),
            commands=("verify", "retry"),
        )
        yield Case(
            name=f"code-yaml-recipe-{tag}",
            kind="code-recipe",
            write=partial(tagged, tag=tag, file="recipe.yaml"),
            commands=("run",),
        )

    configs = {
        "auto_map": {
            "auto_map": {"AutoModel": "evil.Model", "AutoConfig": "evil.Config"},
            "trust_remote_code": True,
        },
        "attention": {
            "attn_implementation": "kernels-community/evil:main",
            "_attn_implementation": "evil/kernel",
        },
        "class": {
            "architectures": ["os.system"],
            "model_type": "../../evil",
            "torch_dtype": "__import__('os').system('touch {trap}')",
        },
        "activation": {
            "hidden_act": "__import__('os').system('touch {trap}')",
            "feat_extract_activation": "evil.py",
        },
    }

    def config(place: Place, name: str, part: str) -> None:
        _kmeans(place)
        text = _filled(json.dumps(configs[name]), place)
        folder = place.inside / ("tokenizer/speaker" if part == "speaker" else f"checkpoint/{part}")
        _put(folder / "config.json", text)
        _put(folder / "evil.py", f"open({str(place.trap)!r}, 'w')\n")
        torch.save({"weight": torch.zeros(2, 2)}, folder / "pytorch_model.bin")

    for name in configs:
        for part in ("speaker", "features"):
            tokenizer = "" if part == "speaker" else names["features"]
            yield Case(
                name=f"code-config-{part}-{name}",
                kind="code",
                write=partial(config, name=name, part=part),
                commands=LOADING,
                tokenizer=tokenizer,
            )

    def family(place: Place, text: str) -> None:
        _put(place.inside / "tokenizer/tokenizer.yaml", _filled(text, place))
        _put(place.inside / "tokenizer/evil.py", f"open({str(place.trap)!r}, 'w')\n")

    for name, change in {
        "module": ("family: units", "family: evil"),
        "dotted": ("family: units", "family: evil:Tokenizer"),
        "features": ("features: logmel", "features: evil"),
        "files": ("licence_code", "files: [{path: ../../../../outside/secret.txt}]\nlicence_code"),
        "absolute": ("licence_code", "files: [{path: /etc/hostname}]\nlicence_code"),
    }.items():
        yield Case(
            name=f"code-card-{name}",
            kind="code",
            write=partial(family, text=UNITS.replace(*change)),
            commands=LOADING,
        )

    def named(place: Place, field: str) -> None:
        """A dataset that says which tokenizer made it: one of its own, with a pickle."""
        dataset = _copy(good, place)
        own = dataset / "tokenizer"
        _put(own / "tokenizer.yaml", UNITS)
        _put(own / "kmeans/km.bin", payloads.pickled(calls(place.trap)["exec"]))
        path = dataset / ".speechtok/job.json"
        job = json.loads(path.read_text())
        job["about"][field] = str(own)
        path.write_text(json.dumps(job))

    for item in ("tokenizer", "checkpoint", "corpus_root", "ray_address"):
        yield Case(
            name=f"code-job-names-{item}",
            kind="code",
            write=partial(named, field=item),
            commands=("decode", "retry", "stats"),
        )


def _weights(place: Place, file: str, content: bytes) -> None:
    """Write a tokenizer whose one file is `content`, and what it needs besides."""
    if file.startswith("tokenizer/"):
        _kmeans(place)
        if "kmeans" in file:
            (place.inside / "tokenizer/kmeans/km.npy").unlink()
    else:
        (place.inside / "checkpoint").mkdir(parents=True, exist_ok=True)
        (place.inside / "checkpoint/kmeans").mkdir()
        np.save(place.inside / "checkpoint/kmeans/km.npy", np.zeros((100, 768), "float32"))
        shutil.copy(FUNCODEC, place.inside / "checkpoint/config.yaml")
        for part in ("decoder", "redecoder"):
            _put(place.inside / f"checkpoint/ns3_facodec_{part}.bin", content)
    _put(place.inside / file, content)
    if "stats" in file:
        _put(
            place.inside / "tokenizer/vocoder/g_00000001",
            payloads.torch_zip({"generator": {"w": torch.zeros(2)}}),
        )


# ----------------------------------------------------------------------------------------------- code in corpora


def _corpora(good: Path) -> Iterator[Case]:
    """Corpora that try to run something: modules, pipes, commands, extension types, loading scripts."""

    def modules(place: Place, names: list[str]) -> None:
        _copy(good, place)
        _tone(place.inside / "corpus/a.wav")
        for name in names:
            text = f"open({str(place.trap)!r}, 'w')\n"
            for folder in (place.inside / "corpus", place.root / "cwd"):
                _put(folder / f"{name.split('.')[0]}.py", text)

    for start in range(0, len(IMPORTED), 10):
        some = IMPORTED[start : start + 10]
        yield Case(
            name=f"code-modules-{some[0]}",
            kind="code",
            write=partial(modules, names=some),
            commands=("tokenize", "retry"),
        )

    pipes = {
        "pipe": "u1 touch {trap} |",
        "piped": "u1 | touch {trap}",
        "sox": "u1 sox x.wav -t wav - ; touch {trap} |",
        "quotes": "u1 `touch {trap}`",
        "dollar": "u1 $(touch {trap}).wav",
        "archive": "u1 ark:touch {trap} |:12",
        "gunzip": "u1 gunzip -c x.gz|touch {trap}|",
    }

    def kaldi(place: Place, line: str) -> None:
        _put(place.inside / "corpus/wav.scp", _filled(line, place) + "\n")
        _put(place.inside / "corpus/text", "u1 hello\n")

    for name, line in pipes.items():
        yield Case(
            name=f"code-kaldi-{name}", kind="code", write=partial(kaldi, line=line), commands=("tokenize",)
        )

    sources = {
        "command": {"type": "command", "channels": [0], "source": "touch {trap}"},
        "url": {"type": "url", "channels": [0], "source": "http://127.0.0.1:9/x.wav"},
        "memory": {
            "type": "memory",
            "channels": [0],
            "source": "!!python/object/apply:os.system ['touch {trap}']",
        },
        "shar": {"type": "shar", "channels": [0], "source": "pipe:touch {trap}"},
        "file": {"type": "file", "channels": [0], "source": "pipe:touch {trap}"},
    }

    def lhotse(place: Place, source: dict[str, Any], form: str) -> None:
        recording = {
            "id": "r",
            "sources": [source],
            "sampling_rate": 16000,
            "num_samples": 8000,
            "duration": 0.5,
        }
        cut = {
            "id": "c",
            "start": 0,
            "duration": 0.5,
            "channel": 0,
            "recording": recording,
            "type": "MonoCut",
        }
        text = _filled(json.dumps(cut if form == "cuts" else recording), place) + "\n"
        _put(place.inside / "corpus.jsonl.gz", gzip.compress(text.encode()))

    for name, source in sources.items():
        for form in ("cuts", "recordings"):
            yield Case(
                name=f"code-lhotse-{form}-{name}",
                kind="code",
                write=partial(lhotse, source=source, form=form),
                commands=("tokenize",),
                corpus="corpus.jsonl.gz",
            )

    def extension(place: Place, where: str) -> None:
        storage = pa.array(["a"])
        kind = b"arrow.py_extension_type"
        field = pa.field(
            "audio",
            pa.string(),
            metadata={
                b"ARROW:extension:name": kind,
                b"ARROW:extension:metadata": payloads.pickled(calls(place.trap)["exec"]),
            },
        )
        table = pa.Table.from_arrays([storage], schema=pa.schema([field]))
        if where == "parquet":
            pq.write_table(table, place.inside / "corpus.parquet")
        elif where == "dataset":
            dataset = _copy(good, place)
            (path,) = dataset.glob("data/*.parquet")
            old = pq.read_table(path)
            pq.write_table(old.append_column(field.with_name("x"), pa.array(["a"] * len(old))), path)
            _sealed(dataset)
        else:
            _hugging_face(place, table)

    for where in ("parquet", "arrow", "dataset"):
        yield Case(
            name=f"code-extension-{where}",
            kind="code",
            write=partial(extension, where=where),
            commands=READING if where == "dataset" else ("tokenize",),
            corpus="corpus.parquet" if where == "parquet" else "corpus",
        )

    def script(place: Place) -> None:
        _hugging_face(place, pa.table({"audio": ["a"]}))
        for name in ("corpus.py", "dataset.py", "__init__.py", "setup.py", "conftest.py"):
            _put(place.inside / "corpus" / name, f"open({str(place.trap)!r}, 'w')\n")

    yield Case(name="code-loading-script", kind="code", write=script, commands=("tokenize",))

    def webdataset(place: Place, suffix: str, content: Callable[[Place], bytes]) -> None:
        members = [(tarfile.TarInfo("a.wav"), _sound()), (tarfile.TarInfo(f"a.{suffix}"), content(place))]
        _tar(place.inside / "corpus/x.tar", members)

    members: dict[str, Callable[[Place], bytes]] = {
        "pyd": lambda place: payloads.pickled(calls(place.trap)["exec"]),
        "pickle": lambda place: payloads.pickled(calls(place.trap)["system"]),
        "pth": lambda place: payloads.torch_zip(calls(place.trap)["exec"]),
        "npy": lambda place: payloads.npy(
            "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
            payloads.pickled([calls(place.trap)["exec"]]),
        ),
        "json": lambda place: b'{"text": "!!python/object/apply:os.system"}',
    }
    for suffix, content in members.items():
        yield Case(
            name=f"code-tar-{suffix}",
            kind="code",
            write=partial(webdataset, suffix=suffix, content=content),
            commands=("tokenize",),
        )

    def playlist(place: Place, text: str, suffix: str) -> None:
        _put(place.inside / "corpus" / f"a.{suffix}", _filled(text, place))
        _tone(place.inside / "corpus/good.wav")

    lists = {
        "m3u8": "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1,\nfile://{outside}/secret.wav\n#EXT-X-ENDLIST\n",
        "concat": "ffconcat version 1.0\nfile '{outside}/secret.wav'\n",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
        "smil": "<?xml version='1.0'?><MPD><Period><BaseURL>file://{outside}/secret.wav</BaseURL></Period></MPD>",
    }
    for name, text in lists.items():
        for suffix in ("mp4", "m4a", "webm"):
            yield Case(
                name=f"read-playlist-{name}-{suffix}",
                kind="read",
                write=partial(playlist, text=text, suffix=suffix),
                commands=("tokenize",),
            )


def _hugging_face(place: Place, table: pa.Table) -> None:
    """Write a folder as `datasets` saves one."""
    folder = place.inside / "corpus"
    folder.mkdir(parents=True)
    with pa.ipc.new_stream(folder / "data-00000-of-00001.arrow", table.schema) as writer:
        writer.write_table(table)
    features = {"audio": {"dtype": "string", "_type": "Value"}}
    _put(folder / "dataset_info.json", json.dumps({"features": features, "builder_name": "corpus"}))
    _put(
        folder / "state.json",
        json.dumps(
            {
                "_data_files": [{"filename": "data-00000-of-00001.arrow"}],
                "_fingerprint": "x",
                "_format_type": None,
                "_split": "train",
            }
        ),
    )


# ---------------------------------------------------------------------------------------------- names and places


def _names(good: Path) -> Iterator[Case]:
    """Ids, splits, columns, paths and members of tars that lead elsewhere."""

    def manifest(place: Place, name: str, column: str) -> None:
        value = _filled(NAMES[name], place)
        _tone(place.inside / "a.wav")
        _lines(
            place.inside / "corpus.jsonl",
            [{"id": "x", "audio": "a.wav", column: value}, {"id": "good", "audio": "a.wav"}],
        )

    def rows(place: Place, name: str) -> None:
        value = _filled(NAMES[name], place).encode("utf-8", "replace").decode()
        for file in ("data/*.parquet", ".speechtok/plan.parquet"):
            if not (place.inside / "dataset").exists():
                _changed_rows(good, place, file, "id", value)
            else:
                (path,) = (place.inside / "dataset").glob(file)
                table = pq.read_table(path)
                pq.write_table(
                    table.set_column(
                        0, table.schema.field("id"), pa.array([value, *table["id"].to_pylist()[1:]])
                    ),
                    path,
                )
        _sealed(place.inside / "dataset")

    def split(place: Place, name: str) -> None:
        value = _filled(NAMES[name], place).encode("utf-8", "replace").decode()
        dataset = _copy(good, place)
        path = dataset / ".speechtok/plan.parquet"
        table = pq.read_table(path)
        index = table.column_names.index("split")
        pq.write_table(
            table.set_column(index, table.schema.field("split"), pa.array([value] * len(table))), path
        )
        manifest = pq.read_table(dataset / "manifest.parquet")
        names = {"split": value, "file": f"data/{value}-00000-of-00001.parquet"}
        for name, text in names.items():
            column = pa.array([text] * len(manifest))
            manifest = manifest.set_column(manifest.column_names.index(name), name, column)
        pq.write_table(manifest, dataset / "manifest.parquet")
        _sealed(dataset)

    def file(place: Place, name: str) -> None:
        value = _filled(NAMES[name], place).encode("utf-8", "replace").decode()
        _changed_rows(good, place, "manifest.parquet", "file", value)

    def member(place: Place, name: str) -> None:
        value = _filled(NAMES[name], place).replace("\0", "") or "x"
        _tar(
            place.inside / "corpus/x.tar",
            [(tarfile.TarInfo(f"{value}.wav"), _sound()), (tarfile.TarInfo(f"{value}.txt"), b"hello")],
        )

    for name in NAMES:
        for column in ("id", "audio", "split", "speaker", "text"):
            yield Case(
                name=f"path-manifest-{column}-{name}",
                kind="path",
                write=partial(manifest, name=name, column=column),
                commands=("tokenize",),
                corpus="corpus.jsonl",
            )
        yield Case(name=f"path-ids-{name}", kind="path", write=partial(rows, name=name), commands=READING)
        yield Case(name=f"path-splits-{name}", kind="path", write=partial(split, name=name), commands=READING)
        yield Case(
            name=f"path-record-{name}",
            kind="path",
            write=partial(file, name=name),
            commands=("verify", "retry"),
        )
        yield Case(
            name=f"path-member-{name}", kind="path", write=partial(member, name=name), commands=("tokenize",)
        )

    def audio(place: Place, value: str, root: str | None = None) -> None:
        filled = _filled(value, place)
        for table in ("data/*.parquet", ".speechtok/plan.parquet"):
            if not (place.inside / "dataset").exists():
                _changed_rows(good, place, table, "audio", filled)
        if root is not None:
            path = place.inside / "dataset/.speechtok/job.json"
            job = json.loads(path.read_text())
            job["about"]["corpus_root"] = _filled(root, place)
            path.write_text(json.dumps(job))

    others = {
        "raw": "{outside}/secret.raw#rate=16000",
        "hostname": "/etc/hostname#rate=16000",
        "wav": "{outside}/secret.wav",
        "climbing": "../../../outside/secret.wav",
        "uri": "file://{outside}/secret.wav",
        "tar": "{outside}/secret.wav#a.wav",
        "offset": "{outside}/secret.raw#offset=0#rate=16000",
        "range": "{outside}/secret.raw#rate=16000#bytes=0-16000",
        "environ": "/proc/self/environ#rate=16000",
        "device": "/dev/zero#rate=16000",
        "random": "/dev/urandom",
        "stdin": "/dev/stdin",
        "pipe": "pipe:0",
        "concat": "concat:{outside}/secret.wav",
        "http": "http://127.0.0.1:9/x.wav",
        "s3": "s3://bucket/x.wav",
    }
    for name, value in others.items():
        yield Case(
            name=f"read-audio-{name}",
            kind="read",
            write=partial(audio, value=value),
            commands=("stats", "retry"),
        )
    for name, root in {"root": "/", "outside": "{outside}", "proc": "/proc/self"}.items():
        value = {"root": "etc/hostname#rate=16000", "outside": "secret.wav", "proc": "environ#rate=16000"}[
            name
        ]
        yield Case(
            name=f"read-corpus-root-{name}",
            kind="read",
            write=partial(audio, value=value, root=root),
            commands=("stats",),
        )


def _links(good: Path) -> Iterator[Case]:
    """Links in corpora, datasets, tars and tokenizers."""

    def own(place: Place, name: str) -> None:
        dataset = _copy(good, place)
        path = dataset / name
        if path.is_dir():
            shutil.rmtree(path)
        elif path.exists():
            path.unlink()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(place.outside / ("folder" if "." not in path.name else "secret.txt"))

    state = ".speechtok"
    for name in (
        "README.md",
        "data",
        "quarantine",
        f"{state}/events.jsonl",
        f"{state}/job.json",
        f"{state}/lock",
        f"{state}/plan.json",
        f"{state}/parts",
        f"{state}/tmp",
        f"{state}/attempts",
        "quarantine/train.parquet",
        f"{state}/parts.parquet",
        "manifest.parquet",
    ):
        yield Case(name=f"link-dataset-{name}", kind="path", write=partial(own, name=name), commands=READING)

    def member(place: Place, kind: bytes, target: str) -> None:
        info = tarfile.TarInfo("a.wav")
        info.type, info.linkname = kind, _filled(target, place)
        _tar(place.inside / "corpus/x.tar", [(info, b""), (tarfile.TarInfo("b.wav"), _sound())])

    for kind, label in (
        (tarfile.SYMTYPE, "soft"),
        (tarfile.LNKTYPE, "hard"),
        (tarfile.CHRTYPE, "device"),
        (tarfile.FIFOTYPE, "fifo"),
    ):
        for name, target in {
            "climbing": "../../../../outside/secret.wav",
            "absolute": "{outside}/secret.wav",
            "self": "a.wav",
        }.items():
            yield Case(
                name=f"link-tar-{label}-{name}",
                kind="path",
                write=partial(member, kind=kind, target=target),
                commands=("tokenize",),
            )

    def cycle(place: Place, depth: int) -> None:
        folder = place.inside / "corpus"
        for number in range(depth):
            inner = folder / f"d{number}"
            inner.mkdir(parents=True)
            (inner / "x").symlink_to(folder / f"d{(number + 1) % depth}")
            (inner / "y").symlink_to(folder / f"d{(number + 1) % depth}")
        _tone(folder / "good.wav")

    for depth in (1, 22):
        yield Case(
            name=f"hang-links-{depth}", kind="hang", write=partial(cycle, depth=depth), commands=("tokenize",)
        )

    def weights(place: Place, target: str) -> None:
        _kmeans(place)
        path = place.inside / "tokenizer/kmeans/km.npy"
        path.unlink()
        path.symlink_to(_filled(target, place))

    for name, target in {
        "zero": "/dev/zero",
        "secret": "{outside}/secret.txt",
        "proc": "/proc/self/environ",
        "folder": "/",
    }.items():
        yield Case(
            name=f"link-weights-{name}", kind="path", write=partial(weights, target=target), commands=LOADING
        )


# ------------------------------------------------------------------------------------------------ damaged datasets


def _datasets(good: Path) -> Iterator[Case]:
    """Token datasets whose every file is damaged in every way."""
    damages: dict[str, Callable[[bytes], bytes]] = {
        "empty": lambda old: b"",
        "cut": lambda old: old[: len(old) // 2],
        "zeros": lambda old: bytes(len(old)),
        "binary": lambda old: bytes(range(256)) * 8,
        "flipped": lambda old: bytes(
            byte ^ (0x40 if number % 97 == 50 else 0) for number, byte in enumerate(old)
        ),
        "deep": lambda old: b"[" * 200_000,
        "deeper": lambda old: b'{"a":' * 200_000,
        "null": lambda old: b"null",
        "list": lambda old: b"[[], {}]",
        "number": lambda old: b"1" * 6000,
        "infinite": lambda old: b'{"rows": Infinity, "seconds": NaN, "bytes": -1}',
        "text": lambda old: b'"text"',
    }
    files = (
        ".speechtok/plan.json",
        ".speechtok/plan.parquet",
        ".speechtok/parts.parquet",
        "manifest.parquet",
        ".speechtok/job.json",
        "data/*.parquet",
        "quarantine/*.parquet",
        "README.md",
    )

    def damaged(place: Place, file: str, damage: str) -> None:
        (path,) = _copy(good, place).glob(file)
        path.write_bytes(damages[damage](path.read_bytes()))

    for file in files:
        short = file.rsplit("/", 1)[-1].replace("*", file.split("/")[-2] if "/" in file else "")
        for damage in damages:
            if not file.endswith(".parquet") or damage in ("empty", "cut", "zeros", "flipped", "text"):
                yield Case(
                    name=f"damage-{short}-{damage}",
                    kind="traceback",
                    write=partial(damaged, file=file, damage=damage),
                    commands=READING,
                )

    values: dict[str, Any] = {
        "null": None,
        "list": [1],
        "text": "x",
        "huge": 10**400,
        "negative": -1,
        "nan": float("nan"),
        "dict": {"a": {"b": 1}},
    }

    def plan(place: Place, keys: tuple[str, ...], value: str) -> None:
        def change(content: Any) -> Any:
            inner = content
            for key in keys[:-1]:
                inner = inner[key]
            inner[keys[-1]] = values[value]
            return content

        _changed_json(good, place, ".speechtok/plan.json", change)

    for keys in (
        ("format_version",),
        ("settings", "job"),
        ("settings", "job", "batch_seconds"),
        ("settings", "tokenizer"),
        ("settings", "tokenizer", "streams"),
        ("settings", "tokenizer", "sample_rate"),
        ("settings", "card"),
        ("settings", "corpus"),
        ("utterances",),
    ):
        for value in values:
            yield Case(
                name=f"damage-plan-{keys[-1]}-{value}",
                kind="traceback",
                write=partial(plan, keys=keys, value=value),
                commands=("verify", "retry"),
            )

    def record(place: Place, key: str, value: str) -> None:
        def change(content: Any) -> Any:
            (content if key in content else content["splits"][0])[key] = values[value]
            return content

        _changed_record(good, place, change)

    for key in ("rows", "seconds", "bytes", "sha256", "quarantined", "number", "splits"):
        for value in values:
            yield Case(
                name=f"damage-record-{key}-{value}",
                kind="traceback",
                write=partial(record, key=key, value=value),
                commands=("verify", "retry"),
            )

    def shard(place: Place, change: Callable[[pa.Table], pa.Table]) -> None:
        dataset = _copy(good, place)
        (path,) = dataset.glob("data/*.parquet")
        pq.write_table(change(pq.read_table(path)), path)
        _sealed(dataset)

    def with_column(name: str, array: pa.Array) -> Callable[[pa.Table], pa.Table]:
        return lambda table: table.set_column(table.column_names.index(name), name, array)

    def metadata(change: Callable[[dict[str, Any]], Any]) -> Callable[[pa.Table], pa.Table]:
        def changed(table: pa.Table) -> pa.Table:
            old = dict(table.schema.metadata)
            return table.replace_schema_metadata(
                old | {b"speechtok": json.dumps(change(json.loads(old[b"speechtok"]))).encode()}
            )

        return changed

    frames = pa.list_(pa.list_(pa.uint16()))
    changes: dict[str, Callable[[pa.Table], pa.Table]] = {
        "codes-high": with_column("mel", pa.array([[[65535] * 25] * 80] * 3, frames)),
        "codes-ragged": with_column("mel", pa.array([[[1], [1, 2]]] * 3, frames)),
        "codes-null": with_column("mel", pa.array([None] * 3, frames)),
        "codes-none": with_column("mel", pa.array([[]] * 3, frames)),
        "codes-text": with_column("mel", pa.array(["x"] * 3)),
        "samples-huge": with_column("num_samples", pa.array([2**62] * 3)),
        "samples-negative": with_column("num_samples", pa.array([-5] * 3)),
        "samples-null": with_column("num_samples", pa.array([None] * 3, pa.int64())),
        "duration-nan": with_column("duration", pa.array([float("nan")] * 3)),
        "duration-huge": with_column("duration", pa.array([1e308] * 3)),
        "ids-null": with_column("id", pa.array([None] * 3, pa.string())),
        "ids-equal": with_column("id", pa.array(["a"] * 3)),
        "ids-number": with_column("id", pa.array([1, 2, 3])),
        "columns-none": lambda table: table.select(["id"]),
        "columns-twice": lambda table: table.append_column("id", table["id"]),
        "rows-none": lambda table: table.slice(0, 0),
        "metadata-none": lambda table: table.replace_schema_metadata({}),
        "metadata-list": metadata(lambda old: []),
        "metadata-rate": metadata(lambda old: old | {"tokenizer": old["tokenizer"] | {"sample_rate": 0}}),
        "metadata-huge": metadata(
            lambda old: old | {"tokenizer": old["tokenizer"] | {"sample_rate": 10**300}}
        ),
        "metadata-streams": metadata(
            lambda old: old | {"tokenizer": old["tokenizer"] | {"streams": [{"name": "id"}]}}
        ),
        "metadata-codebooks": metadata(
            lambda old: (
                old
                | {
                    "tokenizer": old["tokenizer"]
                    | {"streams": [old["tokenizer"]["streams"][0] | {"num_codebooks": 10**9}]}
                }
            )
        ),
        "metadata-codebook": metadata(
            lambda old: (
                old
                | {
                    "tokenizer": old["tokenizer"]
                    | {"streams": [old["tokenizer"]["streams"][0] | {"codebook_size": 10**12}]}
                }
            )
        ),
        "metadata-card": metadata(
            lambda old: old | {"card": old["card"] | {"architecture": {"num_channels": 10**9}}}
        ),
    }
    for name, change in changes.items():
        yield Case(
            name=f"damage-shard-{name}",
            kind="traceback",
            write=partial(shard, change=change),
            commands=READING,
        )


# ---------------------------------------------------------------------------------------- terminals and pages


def _escapes(good: Path) -> Iterator[Case]:
    """Texts that act on a terminal or a page, wherever texts come from data."""

    def manifest(place: Place, text: str, column: str) -> None:
        _tone(place.inside / "a.wav")
        _lines(
            place.inside / "corpus.jsonl",
            [{"id": "x", "audio": "a.wav", column: text}, {"id": "good", "audio": "a.wav"}],
        )

    def named(place: Place, text: str) -> None:
        folder = place.inside / "corpus"
        clean = text.replace("/", "_").replace("\0", "")
        _tone(folder / "good.wav")
        _put(folder / f"{clean}.wav", b"not audio")
        _put(folder / f"x.{clean}", b"not audio")
        _put(folder / f"{clean}.txt", b"\xff")

    def rows(place: Place, text: str, column: str) -> None:
        _changed_rows(good, place, "data/*.parquet", column, text)

    def columns(place: Place, text: str) -> None:
        _tone(place.inside / "a.wav")
        pq.write_table(
            pa.table({"audio": ["a.wav"], text: ["x"], f"{text}2": [1]}), place.inside / "corpus.parquet"
        )

    def failure(place: Place, text: str) -> None:
        def change(content: Any) -> Any:
            content["splits"][0]["quarantined"][0] |= {"message": text, "error": text, "audio": text}
            return content

        _changed_record(good, place, change)

    def card(place: Place, text: str) -> None:
        _kmeans(place)
        path = place.inside / "tokenizer/tokenizer.yaml"
        path.write_text(
            path.read_text()
            .replace("test_units", json.dumps(text))
            .replace("A small composition.", json.dumps(text))
            .replace("citation: none", f"citation: {json.dumps(text)}")
        )

    def stream(place: Place, text: str) -> None:
        def change(content: Any) -> Any:
            for part in ("card", "tokenizer"):
                content["settings"][part]["streams"][0]["name"] = text
                content["settings"][part]["name"] = text
            return content

        _changed_json(good, place, ".speechtok/plan.json", change)

    def member(place: Place, text: str) -> None:
        clean = text.replace("\0", "")
        _tar(
            place.inside / "corpus/x.tar",
            [(tarfile.TarInfo(f"{clean}.wav"), b"bad"), (tarfile.TarInfo("good.wav"), _sound())],
        )

    def run(place: Place, text: str) -> None:
        def change(content: Any) -> Any:
            content["about"] |= {"tokenizer": text, "corpus_root": f"/nowhere/{text}"}
            return content

        _changed_json(good, place, ".speechtok/job.json", change)

    for name, text in ESCAPES.items():
        for column in ("id", "audio", "speaker", "language", "split"):
            yield Case(
                name=f"escape-manifest-{column}-{name}",
                kind="escape",
                write=partial(manifest, text=text, column=column),
                commands=("tokenize",),
                corpus="corpus.jsonl",
            )
        for column in ("id", "audio", "speaker", "language", "text"):
            yield Case(
                name=f"escape-rows-{column}-{name}",
                kind="escape",
                write=partial(rows, text=text, column=column),
                commands=("stats", "verify"),
            )
        yield Case(
            name=f"escape-files-{name}",
            kind="escape",
            write=partial(named, text=text),
            commands=("tokenize",),
        )
        yield Case(
            name=f"escape-columns-{name}",
            kind="escape",
            write=partial(columns, text=text),
            commands=("tokenize",),
            corpus="corpus.parquet",
        )
        yield Case(
            name=f"escape-failure-{name}",
            kind="escape",
            write=partial(failure, text=text),
            commands=("verify", "retry", "stats"),
        )
        yield Case(
            name=f"escape-card-{name}", kind="escape", write=partial(card, text=text), commands=LOADING
        )
        yield Case(
            name=f"escape-stream-{name}",
            kind="escape",
            write=partial(stream, text=text),
            commands=("verify", "retry"),
        )
        yield Case(
            name=f"escape-member-{name}",
            kind="escape",
            write=partial(member, text=text),
            commands=("tokenize",),
        )
        yield Case(
            name=f"escape-job-{name}",
            kind="escape",
            write=partial(run, text=text),
            commands=("retry", "decode", "stats"),
        )


# -------------------------------------------------------------------------------------------------------- bombs


def _bombs(good: Path) -> Iterator[Case]:
    """Small files that ask for gigabytes, hours or endless depth."""

    def weights(content: Callable[[], bytes], spot: str, place: Place) -> None:
        _weights(place, spot, content())

    vocoder, kmeans = "tokenizer/vocoder/g_00000001", "tokenizer/kmeans/km.bin"
    tensors: dict[str, Callable[[], bytes]] = {
        "stride": lambda: payloads.torch_with(payloads.tensor_pickle((1 << 20, 1 << 20), (0, 0))),
        "storage": lambda: payloads.torch_with(payloads.tensor_pickle((16,), (1,), numel=1 << 40)),
        "offset": lambda: payloads.torch_with(payloads.tensor_pickle((16,), (1,), offset=1 << 40)),
        "negative": lambda: payloads.torch_with(payloads.tensor_pickle((-5,), (1,))),
        "deflate": lambda: payloads.torch_with(payloads.pickled({}), bytes(1 << 30)),
        "pickle": lambda: payloads.torch_with(b"\x80\x02" + b"N0" * (200 << 20)),
        "deep": lambda: payloads.torch_with(payloads.nested_pickle(100_000, b"]")),
        "tuples": lambda: payloads.torch_with(payloads.nested_pickle(100_000, b"(")),
        "doubling": lambda: payloads.torch_with(payloads.doubling_pickle(60)),
        "members": lambda: _many_members(60_000),
    }
    for name, content in tensors.items():
        yield Case(
            name=f"bomb-torch-{name}",
            kind="bomb",
            write=partial(weights, content, vocoder),
            commands=("load",),
        )
    for how in ("zlib", "gzip", "bz2", "xz"):
        yield Case(
            name=f"bomb-joblib-{how}",
            kind="bomb",
            write=partial(weights, partial(payloads.zeros, 1 << 30, how), kmeans),
            commands=("load",),
        )
    for name, content in {
        "doubling": partial(payloads.doubling_pickle, 60),
        "deep": partial(payloads.nested_pickle, 100_000, b"]"),
        "tuples": partial(payloads.nested_pickle, 100_000, b"("),
        "long": lambda: b"\x80\x04\x8a" + b"\xff\xff\xff\x7f",
        "frame": lambda: b"\x80\x04\x95" + b"\xff" * 7 + b"\x7f",
        "bytes": lambda: b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f",
    }.items():
        yield Case(
            name=f"bomb-pickle-{name}",
            kind="bomb",
            write=partial(weights, content, kmeans),
            commands=("load",),
        )
    for name, header in {
        "shape": "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 80), }",
        "deep": "(" * 30_000,
        "code": "__import__('os')",
        "dtype": "{'descr': [('a', '<f4', (100000, 100000))], 'fortran_order': False, 'shape': (5,), }",
        "power": "{'descr': '<f4', 'fortran_order': False, 'shape': (9**9**9, 80), }",
        "negative": "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 80), }",
    }.items():
        yield Case(
            name=f"bomb-npy-{name}",
            kind="bomb",
            write=partial(weights, partial(payloads.npy, header[:60_000]), "tokenizer/kmeans/km2.npy"),
            commands=("load",),
        )
    entry = '"w{0}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'
    for name, header in {
        "entries": lambda: (
            "{" + ",".join(entry.format(number) for number in range(1_000_000)) + "}"
        ).encode(),
        "deep": lambda: b"[" * 500_000,
        "shape": lambda: b'{"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}',
        "overlap": lambda: (
            b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
        ),
    }.items():
        yield Case(
            name=f"bomb-safetensors-{name}",
            kind="bomb",
            write=partial(
                weights,
                lambda header=header: payloads.safetensors(header(), bytes(4)),
                "tokenizer/kmeans/km.safetensors",
            ),
            commands=("load",),
        )

    aliases = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    merges = "b0: &b0 {k: 1}\n" + "".join(
        f"b{n}: &b{n} {{<<: [*b{n - 1}, *b{n - 1}, *b{n - 1}]}}\n" for n in range(1, 25)
    )
    for name, text in {
        "aliases": aliases,
        "merges": merges,
        "deep": "[" * 20_000,
        "deeper": "x: " + "{a: " * 20_000,
        "sexagesimal": "sample_rate: " + "1:" * 200_000 + "1",
        "number": "sample_rate: " + "9" * 200_000,
        "long": "description: " + "x" * (80 << 20),
        "keys": "".join(f"k{n}: 1\n" for n in range(200_000)),
        "binary": "x: !!binary " + "A" * (40 << 20),
        "timestamp": "sample_rate: 9999-99-99",
    }.items():
        yield Case(
            name=f"bomb-card-{name}",
            kind="bomb",
            write=lambda place, text=text: _put(
                place.inside / "tokenizer/tokenizer.yaml", UNITS + text + "\n"
            ),
            commands=("load",),
        )
        yield Case(
            name=f"bomb-config-{name}",
            kind="bomb",
            write=lambda place, text=text: (
                _weights(place, "checkpoint/model.pth", b""),
                _put(place.inside / "checkpoint/config.yaml", text + "\n"),
            ),
            commands=("load",),
            tokenizer="funcodec_en_libritts_16k_nq32ds320",
        )
    dmel = {
        "num_channels": 10**9,
        "fft_length": 2**40,
        "num_levels": 10**12,
        "window_length": 2**40,
        "hop_length": -1,
        "sample_rate": 10**15,
    }
    for field, value in dmel.items():

        def sized(place: Place, field: str = field, value: int = value) -> None:
            text = (Path(__file__).parents[2] / "tokenizers/dmel_16k.yaml").read_text()
            _put(
                place.inside / "tokenizer/tokenizer.yaml",
                "\n".join(
                    f"  {field}: {value}" if line.startswith(f"  {field}:") else line
                    for line in text.splitlines()
                ),
            )

        yield Case(name=f"bomb-dmel-{field}", kind="bomb", write=sized, commands=LOADING)
    for part, field in (
        ("features", "num_hidden_layers"),
        ("features", "hidden_size"),
        ("features", "intermediate_size"),
        ("features", "num_conv_pos_embeddings"),
        ("features", "conv_dim"),
    ):

        def layered(place: Place, part: str = part, field: str = field) -> None:
            _weights(place, f"checkpoint/{part}/pytorch_model.bin", payloads.torch_zip({"w": torch.zeros(2)}))
            _put(
                place.inside / f"checkpoint/{part}/config.json",
                json.dumps({field: 10**9 if field != "conv_dim" else [10**9] * 7}),
            )

        yield Case(
            name=f"bomb-{part}-{field}",
            kind="bomb",
            write=layered,
            commands=("load",),
            tokenizer="hubert_base_l6_km100",
        )

    def text_corpus(place: Place, name: str, content: Callable[[], bytes]) -> None:
        _tone(place.inside / "a.wav")
        _put(place.inside / name, content())

    wide = "audio," + ",".join(f"c{n}" for n in range(200_000)) + "\na.wav," + ",".join("x" * 200_000) + "\n"
    texts: dict[str, tuple[str, Callable[[], bytes]]] = {
        "columns": ("corpus.csv", lambda: wide.encode()),
        "line": ("corpus.jsonl", lambda: b'{"audio": "' + b"x" * (300 << 20)),
        "depth": (
            "corpus.jsonl",
            lambda: b'{"audio": "a.wav", "x": ' + b"[" * 300_000 + b"]" * 300_000 + b"}\n",
        ),
        "number": ("corpus.jsonl", lambda: b'{"audio": "a.wav", "start": ' + b"9" * 6000 + b"}\n"),
        "infinite": ("corpus.jsonl", lambda: b'{"audio": "a.wav", "start": 1e308, "duration": 1e308}\n'),
        "splits": (
            "corpus.jsonl",
            lambda: "".join(
                json.dumps({"id": str(n), "audio": "a.wav", "split": f"s{n}"}) + "\n" for n in range(400)
            ).encode(),
        ),
        "gz-line": ("corpus.jsonl.gz", lambda: payloads.zeros(2 << 30, "gzip")),
        "gz-cuts": (
            "corpus.jsonl.gz",
            lambda: gzip.compress(b'{"type": "MonoCut", "id": "') + payloads.zeros(2 << 30, "gzip"),
        ),
        "tsv": ("corpus.tsv", lambda: b"/tmp\n" + b"a.wav\t" + b"9" * 10_000 + b"\n"),
        "nul": ("corpus.csv", lambda: b"audio,text\n\0a.wav,\0\n"),
        "quote": ("corpus.csv", lambda: b'audio,text\na.wav,"' + b"x\n" * (20 << 20)),
        "utf16": ("corpus.csv", lambda: "audio\na.wav\n".encode("utf-16")),
    }
    for name, (file, content) in texts.items():
        yield Case(
            name=f"bomb-text-{name}",
            kind="bomb",
            write=partial(text_corpus, name=file, content=content),
            commands=("tokenize",),
            corpus=file,
        )

    def sparse(place: Place, name: str, size: int) -> None:
        path = _put(place.inside / name, b"")
        os.truncate(path, size)

    for name in (
        "corpus/a.wav",
        "corpus/a.flac",
        "corpus/x.tar",
        "corpus/wav.scp",
        "corpus.jsonl",
        "corpus.csv",
        "corpus.tsv",
        "corpus.parquet",
    ):
        yield Case(
            name=f"bomb-sparse-{name.replace('/', '-')}",
            kind="bomb",
            write=partial(sparse, name=name, size=1 << 40),
            commands=("tokenize",),
            corpus=name if "/" not in name else "corpus",
        )
    for name, content in {
        "claims": lambda: payloads.wav(4 << 30),
        "rate": lambda: payloads.wav(1600, rate=0),
        "fast": lambda: payloads.wav(1600, rate=2**31 - 1),
        "channels": lambda: payloads.wav(1600, channels=65535),
        "none": lambda: payloads.wav(0, samples=0),
        "bits": lambda: payloads.wav(1600, bits=65535),
        "id3": lambda: b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + bytes(1000),
        "flac": lambda: (
            b"fLaC\x80\0\0\x22" + b"\x10\0\x10\0" + bytes(6) + b"\x03\xe8\x00\xff\xff\xff\xff\xff" + bytes(16)
        ),
        "mp4": lambda: b"\0\0\0\x20ftypM4A \0\0\0\0" + bytes(16) + b"\xff\xff\xff\xffmoov" * 100,
        "boxes": lambda: (
            b"\0\0\0\x18ftypisom\0\0\0\0isomiso2" + b"\x7f\xff\xff\xffmoov\x7f\xff\xff\xf0trak" * 5000
        ),
    }.items():

        def sound(place: Place, name: str = name, content: Callable[[], bytes] = content) -> None:
            suffix = {"id3": "mp3", "flac": "flac", "mp4": "m4a", "boxes": "mp4"}.get(name, "wav")
            for number in range(3):
                _put(place.inside / f"corpus/{number}.{suffix}", content())
            _tone(place.inside / "corpus/good.wav")

        yield Case(name=f"bomb-sound-{name}", kind="bomb", write=sound, commands=("tokenize",))

    def hours(place: Place) -> None:
        with soundfile.SoundFile(place.inside / "a.flac", "w", 8000, 1) as file:
            for _ in range(10 * 60):
                file.write(np.zeros(60 * 8000, "int16"))
        _lines(
            place.inside / "corpus.jsonl",
            [{"audio": "a.flac", "duration": 0.5}, {"audio": "a.flac", "id": "b", "start": 1e7}],
        )

    yield Case(
        name="bomb-sound-hours", kind="bomb", write=hours, commands=("tokenize",), corpus="corpus.jsonl"
    )

    def parquet(place: Place, table: Callable[[], pa.Table], compression: str = "zstd") -> None:
        _tone(place.inside / "a.wav")
        pq.write_table(table(), place.inside / "corpus.parquet", compression=compression)

    tables: dict[str, Callable[[], pa.Table]] = {
        "cell": lambda: pa.table({"audio": ["a.wav"], "text": ["x" * (1 << 30)]}),
        "cells": lambda: pa.table(
            {"audio": pa.array(["a.wav"] * 64), "text": pa.array(["x" * (40 << 20)] * 64, pa.large_string())}
        ),
        "rows": lambda: pa.table({"audio": pa.array(["a.wav"] * 2_000_000)}),
        "columns": lambda: pa.table({"audio": ["a.wav"], **{f"c{n}": ["x"] for n in range(20_000)}}),
        "bytes": lambda: pa.table({"audio": [{"bytes": bytes(1 << 30), "path": None}]}),
        "array": lambda: pa.table({"audio": [{"array": [0.0] * 10, "sampling_rate": 0}]}),
        "path": lambda: pa.table({"audio": [{"bytes": None, "path": "/etc/hostname"}]}),
        "null": lambda: pa.table({"audio": pa.array([None, None], pa.string())}),
        "numbers": lambda: pa.table({"audio": [1, 2]}),
        "nested": lambda: pa.table({"audio": ["a.wav"], "x": [_nested(90)]}),
    }
    for name, table in tables.items():
        yield Case(
            name=f"bomb-parquet-{name}",
            kind="bomb",
            write=partial(parquet, table=table),
            commands=("tokenize",),
            corpus="corpus.parquet",
        )

    def arrow(place: Place, offsets: list[int]) -> None:
        _hugging_face(place, pa.table({"audio": ["a.wav", "b.wav"]}))
        path = place.inside / "corpus/data-00000-of-00001.arrow"
        good, bad = (np.array(part, "<i4").tobytes() for part in ([0, 5, 10], offsets))
        path.write_bytes(path.read_bytes().replace(good, bad))

    for name, offsets in {"beyond": [0, 5, 1 << 30], "negative": [0, -5, 10], "falling": [0, 10, 5]}.items():
        yield Case(
            name=f"bomb-arrow-{name}",
            kind="bomb",
            write=partial(arrow, offsets=offsets),
            commands=("tokenize",),
        )

    def rows(place: Place, frames: int) -> None:
        dataset = _copy(good, place)
        (path,) = dataset.glob("data/*.parquet")
        table = pq.read_table(path)
        inner = pa.ListArray.from_arrays(
            np.arange(81, dtype="int32") * frames, pa.array(np.zeros(80 * frames, "uint16"))
        )
        codes = pa.ListArray.from_arrays(np.array([0, 80], "int32"), inner)
        table = table.slice(0, 1).set_column(1, table.schema.field("mel"), codes)
        pq.write_table(table, path, compression="zstd")
        _sealed(dataset)

    yield Case(name="bomb-rows-long", kind="bomb", write=partial(rows, frames=2_000_000), commands=READING)

    def many(place: Place, files: int) -> None:
        folder = place.inside / "corpus"
        folder.mkdir(parents=True)
        for number in range(files):
            (folder / f"{number}.txt").touch()
        _tone(folder / "good.wav")

    yield Case(name="bomb-files", kind="bomb", write=partial(many, files=50_000), commands=("tokenize",))

    def deep(place: Place) -> None:
        folder = place.inside / "corpus"
        folder.mkdir(parents=True)
        here = os.open(folder, os.O_RDONLY)
        for _ in range(400):
            os.mkdir("d", dir_fd=here)
            inner = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = inner
        os.close(here)
        _tone(folder / "good.wav")

    yield Case(name="bomb-folders", kind="bomb", write=deep, commands=("tokenize",))

    def sparse_member(place: Place) -> None:
        info = tarfile.TarInfo("a.wav")
        info.size = 1 << 40
        path = _put(place.inside / "corpus/x.tar", info.tobuf(tarfile.GNU_FORMAT))
        os.truncate(path, 1 << 40)

    yield Case(name="bomb-tar-sparse", kind="bomb", write=sparse_member, commands=("tokenize",))

    def units(place: Place, line: str) -> None:
        _kmeans(place)
        _put(place.inside / "units.txt", line)

    for name, line in {
        "duration": '{"audio": "a", "hubert": "1 2", "duration": 1e9}\n',
        "units": '{"audio": "a", "hubert": "' + "9" * 5000 + '", "duration": 1}\n',
        "deep": "[" * 100_000,
        "words": "a|" + "1 " * 10 + "x\n",
    }.items():
        yield Case(
            name=f"bomb-import-{name}",
            kind="bomb",
            write=partial(units, line=line),
            commands=("import",),
            corpus="units.txt",
        )


def _many_members(count: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for number in range(count):
            file.writestr(f"archive/data/{number}", b"")
        file.writestr("archive/data.pkl", payloads.pickled({}))
        file.writestr("archive/version", "3\n")
    return buffer.getvalue()


def _nested(depth: int) -> Any:
    content: Any = 1
    for _ in range(depth):
        content = [content]
    return content


# ----------------------------------------------------------------------------------------------------- what waits


def _waits(good: Path) -> Iterator[Case]:
    """Pipes nobody writes to, and devices without an end, in the place of every file."""
    corpora = {
        "corpus": "corpus", "a.wav": "corpus/a.wav", "a.flac": "corpus/a.flac", "a.m4a": "corpus/a.m4a", "x.tar": "corpus/x.tar",
        "wav.scp": "corpus/wav.scp", "jsonl": "corpus.jsonl", "csv": "corpus.csv", "tsv": "corpus.tsv", "parquet": "corpus.parquet",
        "gz": "corpus.jsonl.gz", "metadata": "corpus/metadata.csv", "state": "corpus/state.json", "unnamed": "corpus/unnamed", "sidecar": "corpus/good.txt",
    }  # fmt: skip
    tokenizers = {
        "card": "tokenizer/tokenizer.yaml", "km": "tokenizer/kmeans/km.bin", "npy": "tokenizer/kmeans/km.npy", "vocoder": "tokenizer/vocoder/g_00000001",
        "config": "tokenizer/vocoder/config.json", "speakers": "tokenizer/vocoder/speakers.json", "stats": "tokenizer/f0/f0_stats.pth",
    }  # fmt: skip
    datasets = {
        "plan": ".speechtok/plan.json", "rows": ".speechtok/plan.parquet", "parts": ".speechtok/parts.parquet", "manifest": "manifest.parquet", "job": ".speechtok/job.json",
        "events": ".speechtok/events.jsonl", "lock": ".speechtok/lock", "shard": "data/train-00000-of-00001.parquet", "readme": "README.md",
        "quarantine": "quarantine/train.parquet", "attempt": ".speechtok/attempts/train-00000.json",
    }  # fmt: skip

    def waiting(place: Place, file: str, how: str, part: str) -> None:
        if part == "corpus" and "/" in file:
            _tone(place.inside / "corpus/good.wav")
        if part == "dataset":
            _copy(good, place)
            file = f"dataset/{file}"
        if part == "tokenizer":
            _kmeans(place)
        path = place.inside / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        if how == "fifo":
            os.mkfifo(path)
        else:
            path.symlink_to({"zero": "/dev/zero", "full": "/dev/full", "tty": "/dev/stdin"}[how])

    for how in ("fifo", "zero"):
        for name, file in corpora.items():
            yield Case(
                name=f"hang-{how}-{name}",
                kind="hang",
                write=partial(waiting, file=file, how=how, part="corpus"),
                commands=("tokenize",),
                corpus=file if "/" not in file else "corpus",
            )
        for name, file in tokenizers.items():
            yield Case(
                name=f"hang-{how}-{name}",
                kind="hang",
                write=partial(waiting, file=file, how=how, part="tokenizer"),
                commands=("load",),
            )
        for name, file in datasets.items():
            yield Case(
                name=f"hang-{how}-{name}",
                kind="hang",
                write=partial(waiting, file=file, how=how, part="dataset"),
                commands=READING,
            )


def prepare_outside(place: Place) -> None:
    """Write the files that nobody asks for."""
    (place.outside / "folder").mkdir(parents=True)
    place.inside.mkdir(parents=True)
    _put(place.outside / "secret.txt", SECRET)
    samples = (SECRET * 1000).encode()
    _put(place.outside / "secret.raw", samples)
    soundfile.write(place.outside / "secret.wav", np.frombuffer(samples, "<i2"), 16000)
