"""Kernels are compiled once, kept where only the user can write, and looked at before they are loaded."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from speechtok.nets import native


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    native.load_kernel.cache_clear()
    yield
    native.load_kernel.cache_clear()


@pytest.fixture
def source(tmp_path) -> Path:
    if not native.available():
        pytest.skip("no C compiler")
    path = tmp_path / "kernel.c"
    path.write_text("int one(void) { return 1; }")
    return path


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "cache" / "speechtok" / "native"


def one(source: Path) -> int:
    """Return what the kernel says when it is loaded anew."""
    native.load_kernel.cache_clear()
    library = native.load_kernel(source)
    assert library is not None
    return library.one()


def kept(cache: Path) -> Path:
    (path,) = cache.iterdir()
    return path


def exchange(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Put another file in the place of a library, which may be loaded."""
    path.unlink()
    path.write_bytes(content)
    path.chmod(mode)


def test_without_a_compiler_plain_torch_is_used(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    assert not native.available()
    assert native.load_kernel(tmp_path / "kernel.c") is None
    monkeypatch.setenv("CC", "false")
    (tmp_path / "kernel.c").write_text("int one(void) { return 1; }")
    native.load_kernel.cache_clear()
    assert native.load_kernel(tmp_path / "kernel.c") is None


def test_kernels_are_compiled_once_and_can_be_switched_off(monkeypatch, source, cache) -> None:
    assert one(source) == 1
    made = kept(cache).stat().st_mtime_ns
    assert one(source) == 1
    assert kept(cache).stat().st_mtime_ns == made
    source.write_text("int one(void) { return")
    native.load_kernel.cache_clear()
    assert native.load_kernel(source) is None
    monkeypatch.setenv("SPEECHTOK_NATIVE", "0")
    native.load_kernel.cache_clear()
    assert native.load_kernel(source) is None


def test_only_the_user_can_write_to_the_cache_whatever_the_umask(source, cache) -> None:
    umask = os.umask(0)
    try:
        assert one(source) == 1
    finally:
        os.umask(umask)
    assert cache.stat().st_mode & 0o777 == 0o700
    assert kept(cache).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("size", [0, 100, 5000])
def test_a_library_that_was_cut_is_compiled_anew(source, cache, size) -> None:
    one(source)
    whole = kept(cache).read_bytes()
    exchange(kept(cache), whole[:size])
    assert one(source) == 1
    assert kept(cache).read_bytes() == whole


@pytest.fixture
def foreign(tmp_path) -> bytes:
    """A library that says 2."""
    path = tmp_path / "foreign.c"
    path.write_text("int one(void) { return 2; }")
    built = path.with_suffix(".so")
    subprocess.run(
        [shutil.which("cc") or "gcc", "-shared", "-fPIC", "-o", built, path], check=True, timeout=300
    )
    return built.read_bytes()


def test_another_library_under_the_name_is_not_loaded(source, cache, foreign) -> None:
    one(source)
    exchange(kept(cache), foreign)
    assert one(source) == 1


def test_a_library_that_others_can_write_is_not_loaded(source, cache) -> None:
    one(source)
    kept(cache).chmod(0o666)
    assert one(source) == 1
    assert kept(cache).stat().st_mode & 0o777 == 0o600


def test_a_link_in_the_place_of_a_library_is_not_followed(source, cache, tmp_path) -> None:
    one(source)
    library = kept(cache)
    library.rename(tmp_path / "elsewhere.so")
    library.symlink_to(tmp_path / "elsewhere.so")
    assert one(source) == 1
    assert not library.is_symlink()


def test_a_fifo_in_the_place_of_a_library_is_not_waited_for(source, cache) -> None:
    one(source)
    library = kept(cache)
    library.unlink()
    os.mkfifo(library)
    assert one(source) == 1
    assert library.is_file()


@pytest.mark.parametrize("kind", ["writable", "link", "file", "owner"])
def test_a_cache_that_is_not_safe_is_left_alone(source, cache, tmp_path, kind, monkeypatch) -> None:
    cache.parent.mkdir(parents=True)
    if kind == "file":
        cache.write_bytes(b"")
    elif kind == "link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        cache.symlink_to(tmp_path / "elsewhere")
    else:
        cache.mkdir(mode=0o700)
        cache.chmod(0o777 if kind == "writable" else 0o700)
    if kind == "owner":
        user = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    assert one(source) == 1
    assert cache.is_file() or not list(cache.iterdir())


def test_a_compiler_in_the_current_folder_is_not_called(source, tmp_path, monkeypatch) -> None:
    trap = tmp_path / "trap"
    trap.mkdir()
    for name in ("cc", "gcc", "clang", "as", "ld"):
        (trap / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/called\n")
        (trap / name).chmod(0o755)
    monkeypatch.chdir(trap)
    monkeypatch.setenv("PATH", os.pathsep.join([".", "", os.environ["PATH"]]))
    assert one(source) == 1
    monkeypatch.setenv("CC", "./cc")
    assert not native.available()
    assert not (tmp_path / "called").exists()
