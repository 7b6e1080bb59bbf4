"""`speechtok tokenizers`: what there is to choose from."""

from __future__ import annotations

import click

from speechtok.cards import dump_yaml, find_card, list_tokenizers
from speechtok.cli.options import verbose
from speechtok.cli.printing import say


@click.command("tokenizers")
@click.argument("name", required=False)
@verbose
def command(name: str | None) -> None:
    """List all tokenizers, or show the card of one."""
    if name is not None:
        card, path = find_card(name)
        say(f"# {path}")
        for line in dump_yaml(card.to_dict()).splitlines():
            say(line)
        return
    for known in list_tokenizers():
        card, _ = find_card(known)
        bits = sum(stream.bitrate_bps for stream in card.streams)
        streams = ", ".join(f"{item.name} {item.num_codebooks}×{item.codebook_size}" for item in card.streams)
        say(f"{known:32} {card.sample_rate:6} Hz  {bits:8,.0f} bit/s  {streams:28} {card.description}")
