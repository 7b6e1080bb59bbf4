"""Packages that annotations need and not everybody has."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from speechtok.errors import AnnotationError


def check_packages(annotation: str, packages: Sequence[str], extra: str = "quality") -> dict[str, str]:
    """Return the version of each package of an annotation.

    Args:
        annotation: its name.
        packages: what it needs, by the names of a package index.
        extra: the extra of speechtok that they belong to.

    Raises:
        AnnotationError: when one is not installed.
    """
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            raise AnnotationError(
                f"The annotation '{annotation}' needs the package {name}: pip install 'speechtok[{extra}]'."
            ) from None
    return found
