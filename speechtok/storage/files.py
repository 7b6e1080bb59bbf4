"""Files that are needed whole on a disk, or put somewhere whole.

Contents: `replacing`, `temporary_file`, `OwnedFolder`, `put_in_place`, `copy_bytes`, `local_copy`, `download_folder`, `inside`, `join`, `relative`,
`readable`, `file_sha256`, `flush`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
import unicodedata
import uuid
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from speechtok.errors import StorageError
from speechtok.storage.path import AnyPath, StorePath, as_path
from speechtok.storage.uri import is_uri

COPY_BYTES = 16 << 20
"""Objects are fetched in ranges of this size, so that memory does not grow with them."""
CACHE_VARIABLE = "SPEECHTOK_CACHE"
"""Environment variable with the folder for what is fetched once and kept."""


def join(root: AnyPath, name: str) -> AnyPath:
    """Return the place that a corpus names: a URI, an absolute path, or a path below `root`."""
    if is_uri(name):
        return as_path(name)
    return Path(name) if name.startswith("/") else root / name


def inside(folder: Path, name: str, *, follow_links: bool = False) -> Path:
    """Return where a file lies whose name somebody else chose: a store's listing, a repository, a card.

    Every name that comes from outside becomes a local path here and nowhere else.

    Args:
        folder: what the file must lie in; it may be a link itself.
        name: path below the folder, with slashes.
        follow_links: whether links in the folder may lead out of it, as those of a user's own checkpoint may.

    Raises:
        StorageError: when the name leaves the folder, on any system, or holds control characters; or when a link
            leads out of it.
    """
    is_plain = (
        not set(name.split("/")) & {"", ".", ".."}
        and "\\" not in name
        and name[1:2] != ":"  # a drive
        and (name.isprintable() or not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name))
    )
    if not is_plain:
        raise StorageError(
            f"{name!r} is no name for a file in {folder}: only plain paths below it are taken; rename it where it comes from."
        )
    path = folder / name
    try:
        is_within = (
            follow_links
            or not _has_link(folder, name)
            or path.resolve().is_relative_to(folder.resolve())  # twenty times as long
        )
    except (OSError, RuntimeError):  # links in a circle
        is_within = False
    if not is_within:
        raise StorageError(
            f"{path} is reached through a link that leads out of {folder}; remove the link, or choose another folder."
        )
    return path


def _has_link(folder: Path, name: str) -> bool:
    place = str(folder)
    for part in name.split("/"):
        place = f"{place}/{part}"
        try:
            if stat.S_ISLNK(os.lstat(place).st_mode):
                return True
        except OSError:  # nothing is there, nor below
            return False
    return False


def readable(path: AnyPath) -> Any:
    """Return what pyarrow reads: a local path itself, an object as an open file."""
    return path if isinstance(path, Path) else path.open("rb")


def relative(path: AnyPath, root: AnyPath) -> str:
    """Return the part of a place below another one.

    Raises:
        ValueError: when it does not lie below it.
    """
    if isinstance(path, StorePath) and isinstance(root, StorePath):
        return path.relative_to(root).as_posix()
    if isinstance(path, Path) and isinstance(root, Path):
        text, begin = str(path), f"{root}/"
        if text.startswith(begin) and os.sep == "/":  # ten times as fast, for folders of very many files
            return text[len(begin) :]
        return path.relative_to(root).as_posix()
    raise ValueError(f"{path} is not below {root}")


@contextmanager
def replacing(path: AnyPath, tmp: AnyPath | None = None) -> Iterator[Path]:
    """Give a temporary path that becomes `path` when the block ends well, and vanishes otherwise.

    A block that removes the temporary file itself leaves `path` as it was. The temporary file of an
    object lies on the local disk and is put into the store whole, so none is ever left there.

    Args:
        path: the file or object to write.
        tmp: folder for the temporary file of a local `path`, on the same filesystem; None takes its folder.
    """
    with temporary_file(path, tmp) as temporary:
        yield temporary
        if temporary.exists():
            put_in_place(temporary, path)


@contextmanager
def temporary_file(path: AnyPath, tmp: AnyPath | None = None) -> Iterator[Path]:
    """Give a local path where the file that will be `path` is written; it vanishes with the block.

    Args:
        path: the file or object that is meant.
        tmp: as for `replacing`.
    """
    if isinstance(path, StorePath):
        with temporary_folder() as folder:
            yield folder / path.name
        return
    folder = tmp if isinstance(tmp, Path) else path.parent
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{path.name}.{uuid.uuid4().hex}"
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def put_in_place(temporary: Path, path: AnyPath) -> None:
    """Let a finished temporary file become `path`, whole or not at all."""
    if isinstance(path, StorePath):
        path.put(temporary, sha256=file_sha256(temporary))
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    flush(temporary)
    temporary.replace(path)
    flush(path.parent)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Give a local folder that vanishes with all in it."""
    with tempfile.TemporaryDirectory(prefix="speechtok-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


class OwnedFolder:
    """A new local folder that vanishes with this object, or with the process."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="speechtok-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def copy_bytes(path: AnyPath, file: IO[bytes], start: int = 0, size: int | None = None) -> int:
    """Write a file's bytes, or a part of them, to another one, and return how many there were.

    Args:
        path: what to read; of an object only the part is fetched, in one request if it is small.
        file: where to write.
        start: where the part begins.
        size: its length; None means to the end.

    Raises:
        OSError: when the file cannot be read, or the other one not written.
        StorageError: when a store fails.
    """
    copied = 0
    with ExitStack() as stack:
        opened = stack.enter_context(path.open("rb")) if isinstance(path, Path) else None
        if opened is not None:
            opened.seek(start)
        while size is None or copied < size:
            if size is None and copied and isinstance(path, StorePath):
                size = path.stat().st_size - start  # which a small object never needs
                continue
            wanted = COPY_BYTES if size is None else min(COPY_BYTES, size - copied)
            if isinstance(path, StorePath):
                data = path.read_range(start + copied, start + copied + wanted)
            else:
                assert opened is not None  # noqa: S101
                data = opened.read(wanted)
            file.write(data)
            copied += len(data)
            if len(data) < wanted:
                break
    return copied


@contextmanager
def local_copy(path: AnyPath) -> Iterator[Path]:
    """Give a local file with the same content: the file itself, or a copy that vanishes afterwards.

    Raises:
        FileNotFoundError: when there is no such object.
        StorageError: when it cannot be fetched.
    """
    if isinstance(path, Path):
        yield path
        return
    with temporary_folder() as folder:
        with (folder / path.name).open("wb") as file:
            copy_bytes(path, file)
        yield folder / path.name


def download_folder(folder: AnyPath) -> Path:
    """Return a local folder with the same files: the folder itself, or a copy that is kept and used again.

    Copies lie below `$SPEECHTOK_CACHE`, else `~/.cache/speechtok`. A file is fetched anew when the store
    has another version of it, and each is compared with the sha256 that was stored with it, if any.

    Raises:
        StorageError: when there is nothing, a name leads out of the copy, or a file cannot be fetched, arrives
            damaged or cannot be kept.
    """
    if isinstance(folder, Path):
        return folder
    cache = Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "speechtok")
    copy = inside(cache, f"stores/{hashlib.sha256(str(folder).encode()).hexdigest()[:32]}")
    listed = [(path, inside(copy, str(path.relative_to(folder)))) for path in folder.files()]
    if not listed:
        raise StorageError(f"There is nothing at {folder}; check the address.")
    try:
        for path, file in listed:
            _keep(path, file)
        kept = {file for _, file in listed}
        for file in sorted(copy.rglob("*")):
            if file.is_file() and not file.name.startswith(".") and file not in kept:
                file.unlink()
    except OSError as error:
        raise StorageError(
            f"{folder} could not be copied to {copy}: {error.strerror or error}; give {CACHE_VARIABLE} a folder that "
            "you can write to, and check that the names in the store can be those of files."
        ) from error
    return copy


def file_sha256(path: AnyPath) -> str:
    """Return the hash of a file, in hexadecimal.

    Raises:
        StorageError: when a pipe or a device stands in its place, which might never end.
    """
    if isinstance(path, Path) and path.exists() and not path.is_file():
        raise StorageError(f"{path} is no regular file.")
    with local_copy(path) as copy, copy.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _keep(path: StorePath, copy: Path) -> None:
    """Bring a kept copy up to date; what it was made from is noted beside it."""
    head, note = path.stat(), inside(copy.parent, f".{copy.name}.version")
    present = f"{head.version} {head.st_size}"
    if (
        copy.is_file()
        and copy.stat().st_size == head.st_size
        and note.is_file()
        and note.read_text() == present
    ):
        return
    with replacing(copy) as temporary:
        with temporary.open("wb") as file:
            copied = copy_bytes(path, file, size=head.st_size)
        if copied != head.st_size or path.stat().version != head.version:
            raise StorageError(f"{path} changed while it was fetched; run the same command again.")
        stated = {head.sha256, head.stated_sha256} - {None}
        if stated and stated != {file_sha256(temporary)}:
            raise StorageError(
                f"{path} arrived damaged: its sha256 is not the one stored with it; fetch it again."
            )
    note.write_text(present)


def flush(path: Path) -> None:
    """Force a file, or a folder's entries, to disk: a rename must not outlive its content."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
