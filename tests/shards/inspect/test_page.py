"""Pages: values are escaped, and nothing is left out in silence."""

import pytest
from jinja2 import UndefinedError

from shards.inspect.page import write_page


def test_values_are_escaped_and_the_shared_style_is_at_hand(tmp_path):
    (tmp_path / "a.html").write_text(
        '<style>{% include "page.css" %}</style><b>{{ name }}</b>{{ data_uri("text/plain", data) }}'
    )
    page = write_page(tmp_path / "a.html", name="<i>&", data=b"x")
    assert "<b>&lt;i&gt;&amp;</b>data:text/plain;base64,eA==" in page
    assert "--paper" in page
    assert "&#" not in page.partition("</style>")[0]


def test_a_name_without_a_value_is_an_error(tmp_path):
    (tmp_path / "a.html").write_text("{{ nmae }}")
    with pytest.raises(UndefinedError):
        write_page(tmp_path / "a.html", name="x")
