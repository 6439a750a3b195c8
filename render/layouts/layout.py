"""What every layout is: settings with one method, which places blocks on a page."""

from typing import Annotated, ClassVar, TypeVar

from pydantic import AfterValidator, Field

from render.page import Page
from render.plan import LANGUAGES, Language
from shards import Settings

N = TypeVar("N", int, float)


def _in_order(pair: tuple[N, N]) -> tuple[N, N]:
    if pair[0] > pair[1]:
        raise ValueError(f"{list(pair)} must be [least, most]")
    return pair


Share = Annotated[float, Field(ge=0.0, le=1.0)]
"""A probability, or a part of a length."""

Shares = Annotated[tuple[Share, Share], AfterValidator(_in_order)]
"""Least and most part of a length; every part between is equally likely."""

_Opacity = Annotated[float, Field(gt=0.0, le=1.0)]
Opacities = Annotated[tuple[_Opacity, _Opacity], AfterValidator(_in_order)]
"""Least and most opacity of what is laid on a photograph."""

_Em = Annotated[float, Field(ge=0.0, le=100.0)]
Ems = Annotated[tuple[_Em, _Em], AfterValidator(_in_order)]
"""Least and most length, in em of the text beside it."""

_Count = Annotated[int, Field(ge=0, le=9999)]
Counts = Annotated[tuple[_Count, _Count], AfterValidator(_in_order)]
"""Least and most number; every number between is equally likely."""

_Positive = Annotated[int, Field(ge=1, le=9999)]
PositiveCounts = Annotated[tuple[_Positive, _Positive], AfterValidator(_in_order)]
"""As Counts, from 1."""


class Layout(Settings):
    """Places blocks on a page in reading order, using the page's generator only.

    Its fields are what a recipe may set under `[render.layout.NAME]`. `languages` are those it can
    be set in; `warps` says whether the page may be turned and tilted, `on_sheets` whether its text
    always lies on a sheet, whatever the recipe asks of the others. Where text is
    `size` px large it holds characters as size ** -`thinning` (measured over the default mixture).
    """

    languages: ClassVar[tuple[Language, ...]] = LANGUAGES
    warps: ClassVar[bool] = True
    on_sheets: ClassVar[bool] = False
    thinning: ClassVar[float] = 1.6

    def arrange(self, page: Page) -> None:
        """Choose and place blocks on an empty page."""
        raise NotImplementedError
