"""Which real images are worth keeping, and why the others are not."""

from filters.chain import FILTERS, Chain, Filter, FilterSettings, Verdict, build
from filters.clarity import Clarity, Compression, Resolution
from filters.density import Density
from filters.ocr import Reader, Recognizer

__all__ = [
    "FILTERS",
    "Chain",
    "Clarity",
    "Compression",
    "Density",
    "Filter",
    "FilterSettings",
    "Reader",
    "Recognizer",
    "Resolution",
    "Verdict",
    "build",
]
