"""Where files lie: on a disk or in an object store. The door to obstore.

A place is a `Path`, or a `StorePath` that has the same methods; `as_path` tells which. Nothing here
imports a store's client before a store is used.
"""

from speechtok.storage.files import (
    OwnedFolder,
    copy_bytes,
    download_folder,
    file_sha256,
    flush,
    inside,
    join,
    local_copy,
    put_in_place,
    readable,
    relative,
    replacing,
    temporary_file,
)
from speechtok.storage.path import AnyPath, Place, StorePath, as_path, unlink_all
from speechtok.storage.stores import ABSENT
from speechtok.storage.uri import is_store, is_uri

__all__ = [
    "ABSENT",
    "AnyPath",
    "OwnedFolder",
    "Place",
    "StorePath",
    "as_path",
    "copy_bytes",
    "download_folder",
    "file_sha256",
    "flush",
    "inside",
    "is_store",
    "is_uri",
    "join",
    "local_copy",
    "put_in_place",
    "readable",
    "relative",
    "replacing",
    "temporary_file",
    "unlink_all",
]
