"""Content → one HTML file that is complete in itself.

Everything that comes out of data (ids, texts, messages, stream names) is escaped by the template
engine; a page runs no script and fetches nothing, and its content security policy says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from speechtok.storage import replacing
from speechtok.version import __version__
from speechtok.wording import count_text, duration_text, number_text, printable, rate_text, size_text


def write_page(html: Path, template: str, content: dict[str, Any]) -> None:
    """Write a page, whole or not at all; its folder is made if need be.

    Args:
        html: the file to write or replace.
        template: name of a template beside this module; it extends `base.html.j2`.
        content: what the template needs.

    Raises:
        OSError: when the page cannot be written.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        autoescape=True,
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "duration": duration_text,
        "size": size_text,
        "rate": rate_text,
        "count": count_text,
        "number": number_text,
    }
    text = environment.get_template(template).render(content, version=__version__)
    text = "\n".join(map(printable, text.split("\n")))  # ids and texts may hold control characters
    with replacing(html, html.parent) as temporary:
        temporary.write_text(text, encoding="utf-8")
