"""The Hugging Face Hub: moves files, blind to their content."""

from speechtok.hub.download import (
    cached_folder,
    check_sha256,
    commit_of,
    download_file,
    download_repository,
    is_repository,
    origin_of,
    published_text,
)
from speechtok.hub.faults import show_progress
from speechtok.hub.provenance import provenance
from speechtok.hub.upload import Pushed, push_files

__all__ = [
    "Pushed",
    "cached_folder",
    "check_sha256",
    "commit_of",
    "download_file",
    "download_repository",
    "is_repository",
    "origin_of",
    "provenance",
    "published_text",
    "push_files",
    "show_progress",
]
