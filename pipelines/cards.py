"""Cards: the README.md of a model or a dataset, with the front matter that hubs read."""

import re
from pathlib import Path
from typing import Any

from markupsafe import Markup

CARD = "README.md"


def card(template: str, **facts: Any) -> str:
    """Fill a template of this package.

    What people named shows as it is and never as Markdown, unless the template calls it safe.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=False,  # this is Markdown: `finalize` writes every value as plain text
        finalize=_plain_text,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(facts)


def _plain_text(value: Any) -> str:
    """Write a value so that Markdown and HTML show it and read nothing into it."""
    if isinstance(value, Markup):
        return value
    text = " ".join(str(value).split())
    return re.sub(r"[&<>|\[\]`*_\\#~]", lambda match: f"&#{ord(match[0])};", text)
