"""Text at its final size on photographs, with exact truth: (settings, seed, index) -> Sample."""

from render.atlas import Atlas
from render.corpus import Corpus
from render.fonts import Fonts
from render.layouts import LAYOUTS
from render.plan import Plan
from render.renderer import Renderer, versions
from render.settings import DIFFICULTY, RenderSettings

__all__ = [
    "DIFFICULTY",
    "LAYOUTS",
    "Atlas",
    "Corpus",
    "Fonts",
    "Plan",
    "RenderSettings",
    "Renderer",
    "versions",
]
