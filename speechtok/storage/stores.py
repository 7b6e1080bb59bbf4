"""The stores: what each can do beyond what fsspec offers for all, conditional puts above all.

A put may state what it expects to find (see `ABSENT`). On S3 that is `If-None-Match` and `If-Match`, on
Google Cloud Storage the generation of the object, on the Hugging Face Hub the parent of the commit.
Each request is made once: `faults.call` decides whether it is made again, so the clients' own
retries are switched off where they can be.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from speechtok.errors import StorageError
from speechtok.storage.faults import status_of

ABSENT = ""
"""Stands for the version of an object that is not there."""
CONNECT_SECONDS = 10
"""How long a connection may take."""
READ_SECONDS = 60
"""How long a store may keep silent before a request counts as failed."""
MOST_PUT_BYTES = 5 * 10**9
"""The largest object that S3 takes in one request."""
MOST_WHOLE_BYTES = 1 << 30
"""The largest object that is read whole into memory: plans, records and notes are far smaller."""
PAGE_KEYS = 1000
"""Names per request when listing."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """What a store knows of an object without reading it."""

    st_size: int
    """Bytes; called as in `os.stat_result`."""
    version: str
    """Changes with each write."""
    sha256: str | None
    """The hash of what is there, by the store's own reckoning; None where it keeps none, and the content must be read."""
    stated_sha256: str | None
    """The hash stated when it was written, if one was; who writes other content may leave it as it was."""


class Store(Protocol):
    """One request each; keys are `bucket/key`."""

    def head(self, key: str) -> Head:
        """Return what is known of an object."""
        ...

    def read(self, key: str, start: int | None = None, stop: int | None = None) -> bytes:
        """Return an object's bytes, or a range of them; one that is empty is never asked for."""
        ...

    def page(self, key: str, recursive: bool, after: str | None) -> tuple[list[str], str | None]:
        """Return keys below a key, folders with a slash at the end, and what to ask the next page with."""
        ...

    def put(self, key: str, content: bytes | Path, sha256: str | None, replaces: str | None) -> str | None:
        """Return the version written, or None when something else was there than expected."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object."""
        ...


class _S3Store:
    """Amazon S3 and what speaks its language, through s3fs."""

    def __init__(self) -> None:
        self._fs: Any = _filesystem(
            "s3",
            "s3fs",
            config_kwargs={
                "connect_timeout": CONNECT_SECONDS,
                "read_timeout": READ_SECONDS,
                "retries": {"mode": "standard", "total_max_attempts": 1},
            },
        )
        self._fs.retries = 1

    def head(self, key: str) -> Head:
        found = self._fs.call_s3("head_object", **_bucket_and_key(key), ChecksumMode="ENABLED")
        return Head(
            st_size=int(found["ContentLength"]),
            version=found["ETag"],
            sha256=_hexadecimal(found.get("ChecksumSHA256")),
            stated_sha256=found.get("Metadata", {}).get("sha256"),
        )

    def read(self, key: str, start: int | None = None, stop: int | None = None) -> bytes:
        from fsspec.asyn import sync

        return _unless_beyond(lambda: bytes(sync(self._fs.loop, self._read, key, start, stop)))

    async def _read(self, key: str, start: int | None, stop: int | None) -> bytes:
        """Return what was asked for, and of an answer that has no end one byte more than that."""
        wanted = {} if start is None or stop is None else {"Range": f"bytes={start}-{stop - 1}"}
        found = await self._fs._call_s3("get_object", **_bucket_and_key(key), **wanted)
        most = MOST_WHOLE_BYTES if start is None or stop is None else stop - start
        content = bytearray()
        async with found["Body"] as body:
            while len(content) <= most and (data := await body.read(most + 1 - len(content))):
                content += data
        return bytes(content)

    def page(self, key: str, recursive: bool, after: str | None) -> tuple[list[str], str | None]:
        bucket, _, prefix = key.partition("/")
        found = self._fs.call_s3(
            "list_objects_v2",
            Bucket=bucket,
            Prefix=f"{prefix}/" if prefix else "",
            MaxKeys=PAGE_KEYS,
            **({} if recursive else {"Delimiter": "/"}),
            **({"ContinuationToken": after} if after else {}),
        )
        keys = [item["Key"] for item in found.get("Contents", []) if not item["Key"].endswith("/")]
        keys += [item["Prefix"] for item in found.get("CommonPrefixes", [])]
        return [f"{bucket}/{name}" for name in keys], found.get("NextContinuationToken")

    def put(self, key: str, content: bytes | Path, sha256: str | None, replaces: str | None) -> str | None:
        options: dict[str, Any] = {}
        if (
            sha256 is not None
        ):  # the client sends the hash of what it sends, and the store compares and keeps it
            options = {"Metadata": {"sha256": sha256}, "ChecksumAlgorithm": "SHA256"}
        if replaces is not None:
            options |= {"IfNoneMatch": "*"} if replaces == ABSENT else {"IfMatch": replaces}
        data = _bytes_of(content, MOST_PUT_BYTES)

        def request() -> str:
            return str(self._fs.call_s3("put_object", **_bucket_and_key(key), Body=data, **options)["ETag"])

        return _unless_changed(request, replaces)

    def delete(self, key: str) -> None:
        self._fs.call_s3("delete_object", **_bucket_and_key(key))


class _FsspecStore:
    """Reads and lists through fsspec alone."""

    _fs: Any

    def read(self, key: str, start: int | None = None, stop: int | None = None) -> bytes:
        return _unless_beyond(lambda: self._fs.cat_file(key, start=start, end=stop))

    def page(self, key: str, recursive: bool, after: str | None) -> tuple[list[str], str | None]:
        if recursive:
            return [name for name in self._fs.find(key) if name != key], None
        found = [item for item in self._fs.ls(key, detail=True) if item["name"].rstrip("/") != key]
        return [item["name"].rstrip("/") + "/" * (item["type"] != "file") for item in found], None


class _GcsStore(_FsspecStore):
    """Google Cloud Storage, through gcsfs."""

    def __init__(self) -> None:
        self._fs = _filesystem("gs", "gcsfs")

    def head(self, key: str) -> Head:
        found = self._fs.info(key)
        if found["type"] != "file":
            raise FileNotFoundError(key)
        return Head(
            st_size=int(found["size"]),
            version=str(found["generation"]),
            sha256=None,  # this store keeps others
            stated_sha256=(found.get("metadata") or {}).get("sha256"),
        )

    def put(self, key: str, content: bytes | Path, sha256: str | None, replaces: str | None) -> str | None:
        bucket, _, name = key.partition("/")
        about = json.dumps({"name": name, "metadata": {} if sha256 is None else {"sha256": sha256}})
        border = f"speechtok{os.urandom(16).hex()}"
        body = (
            f"--{border}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{about}\r\n--{border}\r\n"
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        data = body + _bytes_of(content, MOST_PUT_BYTES) + f"\r\n--{border}--\r\n".encode()
        condition = {} if replaces is None else {"ifGenerationMatch": replaces or "0"}

        def request() -> str:
            made = self._fs.call(
                "POST",
                f"{self._fs._location}/upload/storage/v1/b/{quote(bucket)}/o",
                uploadType="multipart",
                headers={"Content-Type": f"multipart/related; boundary={border}"},
                data=data,
                json_out=True,
                **condition,
            )
            return str(made["generation"])

        return _unless_changed(request, replaces)

    def delete(self, key: str) -> None:
        self._fs.rm_file(key)


class _HubStore(_FsspecStore):
    """Repositories of the Hugging Face Hub, through huggingface_hub; each put is a commit."""

    def __init__(self) -> None:
        self._fs = _filesystem("hf", "huggingface_hub")

    def head(self, key: str) -> Head:
        self._fs.invalidate_cache()
        found = self._fs.info(key)
        if found["type"] != "file":
            raise FileNotFoundError(key)
        large = found.get("lfs") or {}
        version = str(found.get("blob_id") or found.get("xet_hash") or "")
        sha256 = large.get("sha256")
        return Head(st_size=int(found["size"]), version=version, sha256=sha256, stated_sha256=sha256)

    def put(self, key: str, content: bytes | Path, sha256: str | None, replaces: str | None) -> str | None:
        self._fs.invalidate_cache()
        place = self._fs.resolve_path(key)
        if not hasattr(place, "repo_id"):
            raise StorageError(
                f"hf://{key} lies in a bucket of the Hub, which cannot be written safely; "
                "write to a repository, to another store, or to a folder."
            )
        repository = {"repo_id": place.repo_id, "repo_type": place.repo_type, "revision": place.revision}
        api = self._fs._api
        parent = api.repo_info(**repository).sha

        def request() -> str:
            from huggingface_hub import CommitOperationAdd

            if replaces is not None and replaces != self._version(key):
                raise FileExistsError(key)
            file = CommitOperationAdd(
                path_in_repo=place.path_in_repo,
                path_or_fileobj=content if isinstance(content, bytes) else str(content),
            )
            message = f"Write {place.path_in_repo}"
            api.create_commit(**repository, operations=[file], commit_message=message, parent_commit=parent)
            return self._version(key)

        return _unless_changed(request, replaces)

    def delete(self, key: str) -> None:
        self._fs.rm_file(key)

    def _version(self, key: str) -> str:
        try:
            return self.head(key).version
        except FileNotFoundError:
            return ABSENT


def store_of(scheme: str) -> Store:
    """Return the store of a scheme, with a client of this process."""
    return _store(scheme, os.getpid())


@cache
def _store(scheme: str, process: int) -> Store:
    stores: dict[str, Callable[[], Store]] = {"s3": _S3Store, "gs": _GcsStore, "hf": _HubStore}
    return stores[scheme]()


def forget_stores() -> None:
    """Let the next use read settings and credentials from the environment again."""
    _store.cache_clear()


def _filesystem(scheme: str, package: str, **options: Any) -> Any:
    import fsspec

    try:
        return fsspec.filesystem(scheme, skip_instance_cache=True, use_listings_cache=False, **options)
    except ImportError as error:
        raise StorageError(
            f"{scheme}:// needs the package {package}, which is not installed; "
            f"install it with `pip install 'speechtok[stores]'`."
        ) from error


def _bucket_and_key(key: str) -> dict[str, str]:
    bucket, _, name = key.partition("/")
    if not name:
        raise FileNotFoundError(key)  # a bucket is no object
    return {"Bucket": bucket, "Key": name}


def _hexadecimal(checksum: str | None) -> str | None:
    """Return a checksum that S3 gave in base64; None for one of the parts that a multipart upload was made of."""
    try:
        content = base64.b64decode(checksum or "", validate=True)
    except ValueError:
        return None
    return content.hex() if len(content) == 32 else None


def _bytes_of(content: bytes | Path, most: int) -> bytes:
    if isinstance(content, bytes):
        return content
    size = content.stat().st_size
    if size > most:
        raise StorageError(
            f"A file of {size:,} bytes is more than a store takes in one request ({most:,}); make smaller shards with --shard-seconds."
        )
    return content.read_bytes()


def _unless_beyond(request: Callable[[], bytes]) -> bytes:
    """Return the bytes of a range; one that begins beyond the end holds none, as in a file."""
    try:
        return request()
    except Exception as error:
        if status_of(error)[0] == 416:
            return b""
        raise


def _unless_changed(request: Callable[[], str], replaces: str | None) -> str | None:
    """Return the version a put has made, or None when the store says that its condition does not hold."""
    try:
        return request()
    except Exception as error:
        refused = isinstance(error, FileExistsError) or status_of(error)[0] == 412
        gone = replaces not in (None, ABSENT) and status_of(error)[1] == "NoSuchKey"
        if replaces is not None and (refused or gone):
            return None
        raise
