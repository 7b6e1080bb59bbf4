"""What attackers put into files: pickles that run code, bombs, names that lead elsewhere, texts that command terminals."""

from __future__ import annotations

import builtins
import bz2
import gzip
import io
import lzma
import os
import pickle
import pickletools
import struct
import subprocess
import timeit
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch


class Call:
    """Pickled, it calls a function of another module when it is read."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def calls(trap: Path) -> dict[str, Call]:
    """Return objects that write the file `trap` when they are unpickled, each by another way."""
    code = f"open({str(trap)!r}, 'w')"
    return {
        "exec": Call(builtins.exec, code),
        "eval": Call(builtins.eval, code),
        "open": Call(builtins.open, str(trap), "w"),
        "system": Call(os.system, f"touch '{trap}'"),
        "popen": Call(subprocess.check_call, ["touch", str(trap)]),
        "timeit": Call(timeit.timeit, code, "pass", timeit.default_timer, 1),
        "fromfile": Call(np.memmap, str(trap), "uint8", "w+", 0, (1,)),
        "partial": Call(builtins.list, Call(builtins.map, builtins.exec, [code])),
    }


def pickled(content: Any, protocol: int = 2) -> bytes:
    """Return a pickle."""
    return pickle.dumps(content, protocol=protocol)


def torch_zip(content: Any) -> bytes:
    """Return a file of `torch.save` in the form it has today."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def torch_old(content: Any) -> bytes:
    """Return a file of `torch.save` in the form it had long ago: pickles one after the other."""
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def torch_with(data: bytes, storage: bytes = b"\0" * 64) -> bytes:
    """Return a file of `torch.save` with another pickle, and one storage."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", data)
        file.writestr("archive/data/0", storage)
        file.writestr("archive/version", "3\n")
    return buffer.getvalue()


def tensor_pickle(size: tuple[int, ...], stride: tuple[int, ...], numel: int = 16, offset: int = 0) -> bytes:
    """Return the pickle of a dictionary with one tensor that lies so in a storage of `numel` floats."""

    class Rebuilt:
        def __reduce__(self) -> tuple[Any, ...]:
            return torch._utils._rebuild_tensor_v2, (Stored(), offset, size, stride, False, {})

    class Stored:
        pass

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            return ("storage", torch.FloatStorage, "0", "cpu", numel) if isinstance(value, Stored) else None

    buffer = io.BytesIO()
    Pickler(buffer, protocol=2).dump({"weight": Rebuilt()})
    return buffer.getvalue()


def nested_pickle(depth: int, kind: bytes) -> bytes:
    """Return a pickle of containers inside containers: `kind` is the opcode that opens one."""
    closing = {b"]": b"a", b"(": b"t"}[kind]
    return b"\x80\x02" + kind * depth + closing * (depth - (kind == b"]")) + b"."


def doubling_pickle(times: int) -> bytes:
    """Return a pickle of a list of two equal lists, of two equal lists …: small, until somebody walks it."""
    content: list[Any] = []
    for _ in range(times):
        content = [content, content]
    return pickletools.optimize(pickle.dumps(content, protocol=2))


def zeros(size: int, how: str) -> bytes:
    """Return so many zero bytes, compressed."""
    block = bytes(1 << 20)
    makers = {"zlib": zlib.compressobj, "bz2": bz2.BZ2Compressor, "xz": lzma.LZMACompressor}
    if how == "gzip":
        buffer = io.BytesIO()
        with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as file:
            for _ in range(size >> 20):
                file.write(block)
        return buffer.getvalue()
    maker = makers[how]()
    return b"".join([*(maker.compress(block) for _ in range(size >> 20)), maker.flush()])


def npy(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    """Return a .npy file with a header as it stands here."""
    text = header.encode() + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + data


def safetensors(header: bytes, data: bytes = b"") -> bytes:
    """Return a safetensors file with a header as it stands here."""
    return struct.pack("<Q", len(header)) + header + data


def wav(claimed: int, samples: int = 800, rate: int = 16_000, channels: int = 1, bits: int = 16) -> bytes:
    """Return a WAV file whose header claims so many bytes of samples."""
    tone = (8000 * np.sin(np.arange(samples) / 9)).astype("<i2").tobytes()
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * block & 0xFFFFFFFF, block & 0xFFFF, bits)
    head = (
        b"RIFF"
        + struct.pack("<I", min(claimed + 36, 0xFFFFFFFF))
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form
    )
    return head + b"data" + struct.pack("<I", min(claimed, 0xFFFFFFFF)) + tone


ESCAPES = {
    "clear": "\x1b[2J\x1b[H",
    "title": "\x1b]0;owned\x07",
    "link": "\x1b]8;;http://x\x1b\\here\x1b]8;;\x1b\\",
    "c1": "\x9b31mred",
    "bidi": "a\u202egnp.exe",
    "lines": "a\r\nspeechtok: all is well\n",
    "backspaces": "x\b\b\b\x7f",
    "page": "\n## FORGED\n\n<script>FORGED</script><img src=x onerror=FORGED>\n---\nforged: 1\n",
}
"""Texts that act on a terminal or a page unless they are spelled out."""

NAMES = {
    "parent": "../../escaped",
    "deep": "../../../../escaped",
    "absolute": "{outside}/escaped",
    "inner": "a/../../../escaped",
    "backslash": "..\\..\\escaped",
    "drive": "C:\\escaped",
    "nul": "a\0b",
    "dots": "..",
    "empty": "",
    "long": "x" * 5000,
    "home": "~/escaped",
    "uri": "file://{outside}/escaped",
    "pipe": "touch {trap} |",
    "dollar": "$(touch {trap})",
    "newline": "a\nb",
    "surrogate": "a\udce9b",
}
"""Names that lead elsewhere, or run something where they are given to a shell."""
