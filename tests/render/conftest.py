"""One renderer for all tests: fonts and text are read once, `with_settings` makes the variants."""

import pytest

from render import Renderer
from tests.render.pages import SETTINGS


@pytest.fixture(scope="session")
def renderer() -> Renderer:
    return Renderer(SETTINGS, seed=5)
