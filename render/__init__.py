"""Text at its final size on photographs, with exact truth: (settings, seed, index) -> Sample."""

from render.corpus import Corpus
from render.fonts import Fonts
from render.layouts import LAYOUTS
from render.plan import Background, Block, Line, Plan, Plate, Run
from render.renderer import Renderer, RenderSettings, versions

__all__ = [
    "LAYOUTS",
    "Background",
    "Block",
    "Corpus",
    "Fonts",
    "Line",
    "Plan",
    "Plate",
    "RenderSettings",
    "Renderer",
    "Run",
    "versions",
]
