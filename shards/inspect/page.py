"""A page: one HTML file that needs nothing else, from a template and values."""

import base64
import hashlib
from pathlib import Path
from typing import Any

from shards.inspect.pictures import data_uri

SHARED = Path(__file__).parent / "templates"
"""Where `page.css` lies, with which the style of every page begins."""


def write_page(template: Path, **values: Any) -> str:
    """Fill a template and return the page.

    Values are escaped unless the template says otherwise, and a name without a value is an error.
    The template may include what lies beside it or in SHARED. `data_uri(kind, bytes)` puts a file
    into the page, `text|csp` names a script or style for a Content Security Policy.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([template.parent, SHARED]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["csp"] = _csp
    return environment.get_template(template.name).render(**values, data_uri=data_uri)


def _csp(text: str) -> str:
    """Name the one script or style that a page may run: Content Security Policy level 3, 2.3.1."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
