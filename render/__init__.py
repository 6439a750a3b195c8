"""Text at its final size on photographs, with exact truth: (settings, seed, index) -> Sample."""

from render.layouts import LAYOUTS
from render.plan import Plan
from render.renderer import Renderer, versions
from render.settings import DIFFICULTY, RenderSettings
from render.text.corpus import Corpus
from render.truth import Label, trimmed
from render.type.atlas import Atlas
from render.type.fonts import Fonts

__all__ = [
    "DIFFICULTY",
    "LAYOUTS",
    "Atlas",
    "Corpus",
    "Fonts",
    "Label",
    "Plan",
    "RenderSettings",
    "Renderer",
    "trimmed",
    "versions",
]
