"""`speechtok train`: one module per trainer."""

from __future__ import annotations

from speechtok.cli.group import LazyGroup

COMMANDS = ("kmeans", "f0-vq", "unit-vocoder", "facodec", "facodec-redecoder", "spectral")
"""Trainers, each in the module of its name, where a hyphen is an underscore."""

command = LazyGroup(
    package="speechtok.cli.train",
    names=COMMANDS,
    name="train",
    help="Train a tokenizer, or a part of one, on your own speech.",
)
