"""Name → annotation: those of this package, and those of others by entry points."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from speechtok.annotations.base import Annotation
from speechtok.cards.yaml_file import build, nearest
from speechtok.errors import AnnotationError, CardError

ANNOTATIONS = {
    "alignment": "speechtok.annotations.alignment:Alignment",
    "dnsmos": "speechtok.annotations.dnsmos:Dnsmos",
    "phones": "speechtok.annotations.phones:Phones",
    "pitch": "speechtok.annotations.pitch:Pitch",
    "quality": "speechtok.annotations.quality:Quality",
    "speaker_similarity": "speechtok.annotations.speaker_similarity:SpeakerSimilarity",
    "speaking_rate": "speechtok.annotations.speaking_rate:SpeakingRate",
    "text_normalized": "speechtok.annotations.text_normalized:TextNormalized",
}
"""Name of an annotation → its class."""
ANNOTATIONS_GROUP = "speechtok.annotations"
"""Entry points by which other packages add annotations: the name = "package.module:Class"."""


def list_annotations() -> list[str]:
    """Return the names of all annotations that are installed, sorted."""
    return sorted(_places())


def load_annotation(name: str, **settings: Any) -> Annotation:
    """Return an annotation with some settings; the others keep their defaults.

    Args:
        name: one of `list_annotations()`.
        settings: fields of the annotation's class, plain values.

    Raises:
        ValueError: when the name or a setting is unknown, or a value cannot be.
        AnnotationError: when an installed package claims a name that is taken, or its class cannot be imported.
    """
    places = _places()
    if name not in places:
        close = nearest(name, places) or "."
        raise ValueError(f"There is no annotation '{name}'{close} There are: {', '.join(sorted(places))}.")
    module, _, attribute = places[name].partition(":")
    try:
        kind: type[Annotation] = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise AnnotationError(
            f"The annotation '{name}' cannot be imported from {places[name]}: {error}."
        ) from error
    try:
        return build(kind, settings, f"The annotation '{name}'")
    except CardError as error:
        raise ValueError(str(error)) from error.__cause__


def _places() -> dict[str, str]:
    """Return where the class of each annotation is.

    Raises:
        AnnotationError: when two packages claim one name.
    """
    found = dict(ANNOTATIONS)
    for point in _installed():
        if found.get(point.name, point.value) != point.value:
            raise AnnotationError(
                f"The annotation '{point.name}' is claimed twice, by {found[point.name]} and {point.value}; uninstall one."
            )
        found[point.name] = point.value
    return found


@cache
def _installed() -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=ANNOTATIONS_GROUP))
