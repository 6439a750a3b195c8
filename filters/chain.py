"""Filters, one after the other: keep an image, or name the one reason why not.

A filter is a settings class with two methods. `score` measures and `reason` decides from the
numbers alone, so thresholds can be changed over stored scores without measuring again.

Images per second on one core at 512 px, the decoded image given (decoding alone: about 730):
resolution a million, compression 800-940, clarity 190, density 4-7 (one page of 14 px text
0.23 s, a photograph without text 0.15 s).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Protocol, get_args

from pydantic import Field

from filters.clarity import Clarity, Compression, Resolution
from filters.density import Density
from shards import RGB


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a chain thinks of an image: `reason` is None when it is kept.

    `scores` holds what was measured until the reason was found, finite numbers only.
    """

    reason: str | None
    scores: dict[str, float] = field(default_factory=dict[str, float])

    @property
    def kept(self) -> bool:
        """Whether the image is worth keeping."""
        return self.reason is None


class Filter(Protocol):
    """Measures an image, and decides from the measurements."""

    def score(self, pixels: RGB) -> dict[str, float]:
        """Measure (h, w, 3) uint8 sRGB; a score without evidence is left out, never NaN."""
        ...

    def reason(self, scores: dict[str, float]) -> str | None:
        """Return one short stable word when the image should be dropped, or None."""
        ...


class Chain:
    """Filters in order; give the cheap ones first."""

    def __init__(self, filters: Iterable[Filter]) -> None:
        """Hold the filters in the order given."""
        self.filters = tuple(filters)

    def judge(self, pixels: RGB) -> Verdict:
        """Measure (h, w, 3) uint8 sRGB until one filter names a reason."""
        scores: dict[str, float] = {}
        for filter_ in self.filters:
            scores |= filter_.score(pixels)
            reason = filter_.reason(scores)
            if reason is not None:
                return Verdict(reason, scores)
        return Verdict(None, scores)


# The table of filters, cheapest first: a new one is a class and a line here.
FilterSettings = Annotated[
    Resolution  # the shape alone
    | Compression  # two passes over the pixels
    | Clarity  # four tiles
    | Density,  # a neural network
    Field(discriminator="kind"),
]

FILTERS: dict[str, type[FilterSettings]] = {
    kind.model_fields["kind"].default: kind for kind in get_args(get_args(FilterSettings)[0])
}
"""Every filter by its `kind` in recipes, cheapest first."""


def build(settings: Iterable[FilterSettings]) -> Chain:
    """Make a chain of the filters of a recipe, cheapest first whatever their order there.

    The set of kept images does not depend on the order; only which reason is named does.
    """
    order = list(FILTERS)
    ordered: list[FilterSettings] = sorted(settings, key=lambda given: order.index(given.kind))
    return Chain(ordered)
