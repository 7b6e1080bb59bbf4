"""`StorePath`: an object in a store, with the methods of `pathlib.Path` that this package uses."""

from __future__ import annotations

import fnmatch
import io
import os
import posixpath
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeAlias, overload
from urllib.parse import unquote

from speechtok.errors import StorageError
from speechtok.storage.faults import told
from speechtok.storage.stores import MAX_WHOLE_BYTES, PAGE_KEYS, Head, Store, store_of
from speechtok.storage.uri import is_uri, split_uri

REMOVALS_AT_ONCE = 8
"""Requests that are made at the same time to remove many objects."""
READ_BYTES = 1 << 20
"""Small reads of an open object are served from a buffer of this size."""


class StorePath:
    """One object of a store, or the prefix that stands for a folder.

    There are no folders: one is there while an object below it is, and none needs to be made. Reading
    a missing object raises `FileNotFoundError`, all other faults `StorageError`; both come after
    passing faults were given time to pass.

    Args:
        uri: such as `s3://bucket/corpus`.

    Raises:
        StorageError: when the URI is of an unknown kind, names no bucket, or holds credentials.
    """

    __slots__ = ("_is_folder", "_key", "_scheme", "listed")

    def __init__(self, uri: str) -> None:
        self._scheme, self._key = split_uri(uri)
        self._is_folder: bool | None = None  # known of what a listing has named
        self.listed: Head | None = None
        """What the listing that named this object said of it; its version compares with those of other listings."""

    def __str__(self) -> str:
        return f"{self._scheme}://{self._key}"

    def __repr__(self) -> str:
        return f"StorePath({str(self)!r})"

    def __hash__(self) -> int:
        return hash(str(self))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StorePath) and str(self) == str(other)

    def __lt__(self, other: StorePath) -> bool:
        return str(self) < str(other)

    def __reduce__(self) -> tuple[type[StorePath], tuple[str]]:
        return StorePath, (str(self),)

    def __truediv__(self, name: str | PurePosixPath) -> StorePath:
        key = posixpath.normpath(posixpath.join(self._key, str(name).lstrip("/")))
        return StorePath(f"{self._scheme}://{key}")

    @property
    def key(self) -> str:
        """Bucket and key, as the store's client wants them."""
        return self._key

    @property
    def name(self) -> str:
        """The last part."""
        return PurePosixPath(self._key).name

    @property
    def suffix(self) -> str:
        """The last part from its last dot on."""
        return PurePosixPath(self._key).suffix

    @property
    def stem(self) -> str:
        """The last part without its suffix."""
        return PurePosixPath(self._key).stem

    @property
    def parent(self) -> StorePath:
        """The folder; that of a bucket is the bucket."""
        return StorePath(f"{self._scheme}://{posixpath.dirname(self._key) or self._key}")

    def with_name(self, name: str) -> StorePath:
        """Return the object of another name in the same folder."""
        return self.parent / name

    def as_posix(self) -> str:
        """Return the URI."""
        return str(self)

    def resolve(self) -> StorePath:
        """Return the path itself, which holds no links and depends on no current folder."""
        return self

    def relative_to(self, other: StorePath) -> PurePosixPath:
        """Return the part below another path."""
        if self._scheme != other._scheme:
            raise ValueError(f"{self} is not below {other}")
        return PurePosixPath(self._key).relative_to(other._key)

    def is_relative_to(self, other: object) -> bool:
        """Return whether this is another path or lies below it."""
        return isinstance(other, StorePath) and f"{self}/".startswith(f"{other}/")

    def stat(self) -> Head:
        """Return size, version and sha256 of the object; one request.

        Raises:
            FileNotFoundError: when there is none.
        """
        with told(self, "read"):
            return self._store.head(self._name)

    def is_file(self) -> bool:
        """Return whether there is such an object; one request, or none if a listing has named it."""
        if self._is_folder is not None:
            return not self._is_folder
        try:
            self.stat()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        """Return whether an object lies below this path; one request, or none if a listing has named it."""
        if self._is_folder is not None:
            return self._is_folder
        try:
            return next(self._below(recursive=True), None) is not None
        except FileNotFoundError:
            return False

    def exists(self) -> bool:
        """Return whether the path is an object or a folder."""
        return self.is_file() or self.is_dir()

    def is_symlink(self) -> bool:
        """Return False: stores have no links."""
        return False

    def iterdir(self) -> Iterator[StorePath]:
        """Yield objects and folders directly below, in order."""
        yield from self._below(recursive=False)

    def files(self) -> Iterator[StorePath]:
        """Yield all objects below, at any depth, in order."""
        yield from self._below(recursive=True)

    def glob(self, pattern: str) -> Iterator[StorePath]:
        """Yield what lies directly below and whose name matches."""
        try:
            yield from (path for path in self.iterdir() if fnmatch.fnmatchcase(path.name, pattern))
        except FileNotFoundError:
            return

    def read_bytes(self) -> bytes:
        """Return the whole object; one request.

        Raises:
            StorageError: also when it is larger than `MAX_WHOLE_BYTES`.
        """
        with told(self, "read"):
            return self._at_most(MAX_WHOLE_BYTES, self._store.read(self._name, 0, MAX_WHOLE_BYTES + 1))

    def read_text(self, encoding: str = "utf-8") -> str:
        """Return the whole object as text."""
        return self.read_bytes().decode(encoding)

    def read_range(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` up to `stop`, fewer at the end; one request."""
        if stop <= start:
            return b""
        with told(self, "read"):
            return self._at_most(stop - start, self._store.read(self._name, start, stop))

    @overload
    def open(self, mode: Literal["rb"]) -> io.BufferedReader[Any]: ...

    @overload
    def open(
        self,
        mode: Literal["r"] = ...,
        *,
        encoding: str | None = ...,
        errors: str | None = ...,
        newline: str | None = ...,
    ) -> io.TextIOWrapper[Any]: ...

    def open(
        self,
        mode: str = "r",
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> io.BufferedReader[Any] | io.TextIOWrapper[Any]:
        """Return the object as a file to read, which can be sought in; what is read is fetched, not more.

        Raises:
            FileNotFoundError: when there is none.
        """
        if mode not in ("r", "rb"):
            raise ValueError(
                f"objects are opened for reading only, not with mode {mode!r}; write them with `put`"
            )
        file = io.BufferedReader(_Reader(self), READ_BYTES)
        return file if mode == "rb" else io.TextIOWrapper(file, encoding or "utf-8", errors, newline)

    def put(
        self, content: bytes | Path, *, sha256: str | None = None, replaces: str | None = None
    ) -> str | None:
        """Write the object whole, in one request; readers see the old one or the new one.

        Args:
            content: bytes, or a local file that holds them.
            sha256: their hash, stored with the object and read back by `stat` as what was stated.
            replaces: what must be there now for the object to be written: `ABSENT` for nothing, the
                `version` of a `Head` for that one; None writes whatever is there.

        Returns:
            The version written; None when something else is there than `replaces` says. The latter may
            also mean that an earlier try was made, whose answer was lost: compare before concluding.
        """
        with told(self, "written"):
            return self._store.put(self._name, content, sha256, replaces)

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the object; stores do not say whether there was one."""
        with told(self, "removed"), suppress(FileNotFoundError):
            self._store.delete(self._name)

    def _at_most(self, size: int, content: bytes) -> bytes:
        if len(content) > size:
            raise StorageError(
                f"{self} could not be read: the store sends more than the {size:,} bytes that were asked for; "
                "check that it is well, and that this is the object you mean."
            )
        return content

    @property
    def _store(self) -> Store:
        return store_of(self._scheme, self._key.partition("/")[0])

    @property
    def _name(self) -> str:
        """The part below the bucket."""
        return self._key.partition("/")[2]

    def _below(self, *, recursive: bool) -> Iterator[StorePath]:
        bucket = self._key.partition("/")[0]
        with told(self, "listed"):
            for name, head in self._store.list(self._name, recursive):
                key = f"{bucket}/{name}"
                if key == self._key:
                    continue  # a mark that other tools have left for a folder
                if not key.startswith(f"{self._key}/"):
                    raise StorageError(
                        f"{self} could not be listed: the store names {key!r}, which lies elsewhere."
                    )
                path = StorePath(f"{self._scheme}://{key}")
                if head is not None and not head.st_size and not path.is_file():
                    continue  # likewise: the list tells "a/" as "a"
                path._is_folder, path.listed = head is None, head
                yield path


class _Reader(io.RawIOBase):
    """Reads ranges of an object; it may change process, since it holds no connection."""

    def __init__(self, path: StorePath) -> None:
        self._path, self._size, self._position = path, path.stat().st_size, 0
        self.name = str(path)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        stop = min(self._position + len(buffer), self._size)
        if stop <= self._position:
            return 0
        data = self._path.read_range(self._position, stop)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


AnyPath: TypeAlias = Path | StorePath
"""A place on a disk or in a store."""


def unlink_all(paths: Iterable[AnyPath]) -> None:
    """Remove files that are there; objects of a store many at a time."""
    objects = defaultdict[Store, list[StorePath]](list)
    for path in paths:
        if isinstance(path, StorePath):
            objects[path._store].append(path)
        else:
            path.unlink(missing_ok=True)

    def remove(store: Store, several: list[StorePath]) -> None:
        with told(several[0].parent, "cleared"):
            store.delete_many([path._name for path in several])

    with ThreadPoolExecutor(REMOVALS_AT_ONCE) as pool:
        calls = [
            pool.submit(remove, store, found[start : start + PAGE_KEYS])
            for store, found in objects.items()
            for start in range(0, len(found), PAGE_KEYS)
        ]
    for call in calls:
        call.result()


Place: TypeAlias = str | os.PathLike[str] | StorePath
"""What users name a place with."""


def as_path(place: Place) -> AnyPath:
    """Return a local path as `Path`, a URI as `StorePath`; `file://` URIs are local paths.

    Raises:
        StorageError: as for `StorePath`.
    """
    if isinstance(place, Path | StorePath):
        return place
    if not isinstance(place, str) or not is_uri(place):
        return Path(place)
    scheme, rest = split_uri(place)
    return Path(unquote(rest.removeprefix("localhost"))) if scheme == "file" else StorePath(place)
