"""The stores: buckets through obstore, repositories of the Hugging Face Hub, which are only read, through huggingface_hub.

A put may state what it expects to find (see `ABSENT`): the ETag of an object on S3, its generation on Google Cloud
Storage. Passing faults pass inside the library, which asks again after growing, random pauses; only an exchange that broke
off while a file was put is begun anew here.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from speechtok.errors import StorageError
from speechtok.storage.faults import is_broken_off, is_passing, status_of
from speechtok.storage.retrying import keep_trying

ABSENT = ""
"""Stands for the version of an object that is not there."""
ATTEMPTS = 10
"""How often a request is tried."""
FIRST_PAUSE_SECONDS = 0.2
"""The first pause is about this long; each further one up to twice as long …"""
LONGEST_PAUSE_SECONDS = 20.0
"""… and never longer than this."""
CONNECT_SECONDS = 10
"""How long a connection may take."""
READ_SECONDS = 60
"""How long a store may keep silent before a request counts as failed: so long for each `PART_BYTES` that are sent."""
PART_BYTES = 16 << 20
MAX_PUT_BYTES = 5 * 10**9
"""The largest object that S3 takes in one request."""
MAX_WHOLE_BYTES = 1 << 30
"""The largest object that is read whole into memory: plans, records and notes are far smaller."""
PAGE_KEYS = 1000
"""Names that are listed, or removed, at a time."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """What a store knows of an object without reading it."""

    st_size: int
    """Bytes; called as in `os.stat_result`."""
    version: str
    """Changes with each write."""
    sha256: str | None = None
    """The hash of what is there; None where the store does not vouch for it, and the content must be read."""
    stated_sha256: str | None = None
    """The hash stated when it was written, if one was; who writes other content may leave it as it was."""


class _Bucket:
    """A bucket of Amazon S3 and what speaks its language, of Google Cloud Storage, or in the memory of this process.

    A put that states a sha256 states the MD5 beside it. S3 and Google reckon the MD5 of what they have, and call it ETag; as long
    as it is the stated one, so is the sha256. Where the ETag is something else (keys of the customer, uploads in parts by
    other tools), nothing is vouched for.
    """

    def __init__(self, scheme: str, bucket: str) -> None:
        self._scheme, self._bucket = scheme, bucket
        self._obstore = _obstore(scheme)
        self._store = self._opened()

    def head(self, name: str) -> Head:
        """Return what is known of an object."""
        found = self._obstore.get(self._store, name, options={"head": True})
        stated = found.attributes.get("sha256")
        is_same = str(found.meta["e_tag"]).strip('"') == found.attributes.get("md5")
        return self._head(found.meta, sha256=stated if is_same else None, stated_sha256=stated)

    def read(self, name: str, start: int, stop: int) -> bytes:
        """Return a range of an object's bytes, which is not empty, and of an answer without end a little more than that."""
        try:
            found = self._obstore.get(self._store, name, options={"range": (start, stop)})
        except self._obstore.exceptions.GenericError as error:
            if status_of(error)[0] == 416 or "Wanted range starting at" in str(error):
                return b""  # it begins beyond the end, as it may in a file
            raise
        content = bytearray()
        for data in found.stream():
            content += data
            if len(content) > stop - start:
                break
        return bytes(content)

    def list(self, folder: str, recursive: bool) -> Iterator[tuple[str, Head | None]]:
        """Yield names of objects below a name, in order, and of folders, which have no head."""
        if not recursive:
            found = self._obstore.list_with_delimiter(self._store, folder)
            objects = [(item["path"], self._head(item)) for item in found["objects"]]
            yield from sorted([*objects, *((name, None) for name in found["common_prefixes"])])
            return
        for page in self._obstore.list(self._store, folder, chunk_size=PAGE_KEYS):
            yield from ((item["path"], self._head(item)) for item in page)

    def put(self, name: str, content: bytes | Path, sha256: str | None, replaces: str | None) -> str | None:
        """Return the version written, or None when something else was there than expected."""
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        if size > MAX_PUT_BYTES:
            raise StorageError(
                f"A file of {size:,} bytes is more than a store takes in one request ({MAX_PUT_BYTES:,}); make smaller shards with --shard-seconds."
            )
        # a store of its own waits for the answer to a large one, which comes when all is sent
        store = self._store if size <= PART_BYTES else self._opened(-(-size // PART_BYTES))
        mode: Any = "overwrite" if replaces is None else "create"
        if replaces:
            mode = {"e_tag": replaces, "version": replaces}
        options = {"use_multipart": False, "mode": mode, "attributes": _attributes(content, sha256)}
        try:
            made = _begun_anew(lambda: self._obstore.put(store, name, content, **options), is_broken_off)
        except (self._obstore.exceptions.AlreadyExistsError, self._obstore.exceptions.PreconditionError):
            return None
        return self._version(made)

    def delete(self, name: str) -> None:
        """Remove an object."""
        _begun_anew(lambda: self._obstore.delete(self._store, name), is_broken_off)

    def delete_many(self, names: Sequence[str]) -> None:
        """Remove objects, at most `PAGE_KEYS`, in one request where the store has one for that, else one by one."""
        try:
            _begun_anew(lambda: self._obstore.delete(self._bulk, list(names)), is_broken_off)
        except Exception:  # one is not there, or the store knows no such request; what is refused is so again
            for name in names:
                with suppress(FileNotFoundError):
                    self.delete(name)

    @cached_property
    def _bulk(self) -> Any:
        """The bucket for `delete_many`."""
        return self._opened(deletes_many=True) if self._scheme == "s3" else self._store

    def _head(self, meta: Any, **hashes: str | None) -> Head:
        return Head(st_size=meta["size"], version=self._version(meta), **hashes)

    def _version(self, meta: Any) -> str:
        return str(
            (self._scheme == "gs" and meta["version"]) or meta["e_tag"]
        )  # Google's listings tell ETags alone

    def _opened(self, patience: int = 1, *, deletes_many: bool = False) -> Any:
        """Return the bucket as the library has it, with so many times the usual patience."""
        seconds = timedelta(seconds=patience * READ_SECONDS)
        options: dict[str, Any] = {
            "client_options": {
                "allow_http": True,
                "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
                "read_timeout": seconds,
                "timeout": 10 * seconds,
            },
            "retry_config": {
                "max_retries": ATTEMPTS - 1,
                "retry_timeout": 3 * seconds,
                "backoff": {
                    "init_backoff": timedelta(seconds=FIRST_PAUSE_SECONDS),
                    "max_backoff": timedelta(seconds=LONGEST_PAUSE_SECONDS),
                    "base": 2,
                },
            },
        }
        stores = self._obstore.store
        if self._scheme == "memory":
            return stores.MemoryStore()
        _check_endpoint()
        options["credential_provider"] = _credentials(self._scheme)
        if self._scheme == "s3":
            return stores.S3Store(self._bucket, disable_bulk_delete=not deletes_many, **options)
        return stores.GCSStore(self._bucket, **options)


class _Hub:
    """Repositories of the Hugging Face Hub, with the methods of a bucket."""

    def __init__(self, owner: str) -> None:
        from huggingface_hub import HfFileSystem

        self._owner = owner
        self._fs = HfFileSystem(skip_instance_cache=True, use_listings_cache=False)

    def head(self, name: str) -> Head:
        return self._head(name, self._ask("info", name))

    def read(self, name: str, start: int, stop: int) -> bytes:
        try:
            return bytes(self._ask("cat_file", name, start=start, end=stop))
        except Exception as error:
            if status_of(error)[0] == 416:
                return b""
            raise

    def list(self, folder: str, recursive: bool) -> Iterator[tuple[str, Head | None]]:
        found = self._ask("find", folder, detail=True) if recursive else self._ask("ls", folder, detail=True)
        for item in sorted(found.values() if recursive else found, key=lambda item: str(item["name"])):
            name = item["name"].removeprefix(f"{self._owner}/")
            yield name, self._head(name, item) if item["type"] == "file" else None

    def put(self, name: str, content: bytes | Path, sha256: str | None, replaces: str | None) -> str | None:
        raise StorageError(
            f"hf://{self._owner}/{name} cannot be changed from here, since each file there is a commit; write to a folder or a "
            "bucket, and publish what is finished with `speechtok push`."
        )

    def delete(self, name: str) -> None:
        self.put(name, b"", None, None)

    def delete_many(self, names: Sequence[str]) -> None:
        self.delete(names[0])

    def _ask(self, what: str, name: str, **options: Any) -> Any:
        self._fs.invalidate_cache()
        where = f"{self._owner}/{name}".rstrip("/")
        return _begun_anew(lambda: getattr(self._fs, what)(where, **options), is_passing)

    def _head(self, name: str, found: Any) -> Head:
        if found["type"] != "file":
            raise FileNotFoundError(name)
        sha256 = (found.get("lfs") or {}).get("sha256")
        version = str(found.get("blob_id") or found.get("xet_hash") or "")
        return Head(st_size=int(found["size"]), version=version, sha256=sha256, stated_sha256=sha256)


Store: TypeAlias = _Bucket | _Hub
"""One bucket, or what comes first in the name of a repository; names are those of objects in it."""


def store_of(scheme: str, bucket: str) -> Store:
    """Return a bucket or what comes first in the name of a repository, with a client of this process.

    Raises:
        StorageError: when its client is not installed, or no credentials are found.
    """
    return _store(scheme, bucket, os.getpid())


@cache
def _store(scheme: str, bucket: str, process: int) -> Store:
    return _Hub(bucket) if scheme == "hf" else _Bucket(scheme, bucket)


def forget_stores() -> None:
    """Let the next use read settings and credentials from the environment again."""
    _store.cache_clear()


_used_in: int | None = None
"""The process that has begun to use the library here."""


def _obstore(scheme: str) -> Any:
    """Return the library.

    Its threads do not survive a fork, and it cannot start others. A process that was forked from one that used it, such
    as a worker of a torch `DataLoader`, takes a copy of the library's code of its own.
    """
    global _used_in
    try:
        import obstore
    except ImportError as error:
        raise StorageError(
            f"{scheme}:// needs the package obstore, which is not installed; install it with `pip install 'speechtok[stores]'`."
        ) from error
    if _used_in not in (None, os.getpid()):
        code = os.memfd_create("obstore")
        with Path(obstore._obstore.__file__).open("rb") as file, os.fdopen(code, "wb", closefd=False) as copy:
            shutil.copyfileobj(file, copy)
        for name in [name for name in sys.modules if name.partition(".")[0] == "obstore"]:
            del sys.modules[name]
        loader = importlib.machinery.ExtensionFileLoader("obstore._obstore", f"/proc/self/fd/{code}")
        spec = importlib.util.spec_from_loader(loader.name, loader)
        assert spec is not None  # noqa: S101
        sys.modules[loader.name] = importlib.util.module_from_spec(spec)
        loader.exec_module(sys.modules[loader.name])
        os.close(code)
        import obstore
    import obstore.exceptions
    import obstore.store

    _used_in = os.getpid()
    return obstore


_OWN_CREDENTIALS = {
    "s3": ("AWS_ACCESS_KEY_ID", "AWS_SKIP_SIGNATURE"),
    "gs": ("GOOGLE_SERVICE_ACCOUNT_KEY", "GOOGLE_BEARER_TOKEN", "GOOGLE_SKIP_SIGNATURE"),
}
"""Variables that the library reads itself."""


def _credentials(scheme: str) -> Any:
    """Return what gives the library credentials as the store's own client finds them; None where it needs no help."""
    if any(os.environ.get(name) for name in _OWN_CREDENTIALS[scheme]):
        return None
    try:
        if scheme == "s3":
            from obstore.auth.boto3 import Boto3CredentialProvider

            return Boto3CredentialProvider()
        from obstore.auth.google import GoogleCredentialProvider

        return GoogleCredentialProvider()
    except Exception as error:
        advice = {
            "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
            "gs": "set GOOGLE_APPLICATION_CREDENTIALS to a key file, or run `gcloud auth application-default login`",
        }
        raise LookupError(f"no credentials for {scheme}:// were found; {advice[scheme]}") from error


def _check_endpoint() -> None:
    """Raise for an address that the library would take for one, and die of."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "GOOGLE_BASE_URL"):
        text = os.environ.get(name)
        try:
            if not text or (
                urlsplit(text).hostname and urlsplit(text).port != 0 and not set(text) & set(" \t\r\n")
            ):
                continue
        except ValueError:
            pass
        raise LookupError(f"{name} holds no address of a server, such as https://host:9000")


def _begun_anew(action: Callable[[], Any], passes: Callable[[BaseException], bool]) -> Any:
    """Return what a request returns that is safe to make twice."""
    return keep_trying(
        action,
        passes=passes,
        attempts=ATTEMPTS,
        first_pause_seconds=FIRST_PAUSE_SECONDS,
        longest_pause_seconds=LONGEST_PAUSE_SECONDS,
    )


def _attributes(content: bytes | Path, sha256: str | None) -> dict[str, str] | None:
    if sha256 is None:
        return None
    if isinstance(content, bytes):
        return {"sha256": sha256, "md5": hashlib.md5(content, usedforsecurity=False).hexdigest()}
    with content.open("rb") as file:
        return {"sha256": sha256, "md5": hashlib.file_digest(file, "md5").hexdigest()}
