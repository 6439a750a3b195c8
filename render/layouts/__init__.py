"""Layouts: where blocks of text go. A new one is a class, and a line in LAYOUTS below.

Together they cover the nine categories of OmniDoc-TokenBench (the report, section 6).
"""

from render.layouts.layout import Layout
from render.layouts.pictures import Poster, Scatter, Slide, Web
from render.layouts.prose import Article, Book, Newspaper, Paragraph, Vertical
from render.layouts.sheets import Exam, Form, Note, Receipt, Statement, Table

FALLBACK = "scatter"
"""The layout taken where another one leaves the page empty: it needs the least room."""

LAYOUTS: dict[str, type[Layout]] = {
    "paragraph": Paragraph,
    "article": Article,
    "newspaper": Newspaper,
    "book": Book,
    "vertical": Vertical,
    "slide": Slide,
    "poster": Poster,
    "table": Table,
    "statement": Statement,
    "form": Form,
    "exam": Exam,
    "note": Note,
    "web": Web,
    "receipt": Receipt,
    "scatter": Scatter,
}

__all__ = ["FALLBACK", "LAYOUTS", "Layout"]
