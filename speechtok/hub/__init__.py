"""The Hugging Face Hub: moves files, blind to their content."""

from speechtok.hub.download import check_sha256, commit_of, download_file
from speechtok.hub.provenance import provenance

__all__ = ["check_sha256", "commit_of", "download_file", "provenance"]
