"""Annotations: columns that are added to the rows of a token dataset, from audio, text or tokens."""

from speechtok.annotations.base import LOCAL, Annotation, Row
from speechtok.annotations.registry import list_annotations, load_annotation
from speechtok.errors import AnnotationError
from speechtok.shards.annotated import Column, Provenance

__all__ = [
    "LOCAL",
    "Annotation",
    "AnnotationError",
    "Column",
    "Provenance",
    "Row",
    "list_annotations",
    "load_annotation",
]
