"""What the text stands on: crops of photographs, and a minority of plain paper.

Neighbouring samples share a photograph, chosen from the index alone, so that decoding one (up to
a second for a large file) is paid once for several pages and no order of work changes a page.
"""

from dataclasses import replace
from functools import lru_cache

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from render.picture.light import readable
from render.plan import Background, Box, Colour, Ground
from shards import RGB, ImageSource, UnreadableImage, UserError, decode
from shards.images.formats import MAX_PIXELS

PAGES_PER_PHOTOGRAPH = 8
"""Consecutive indices that share a photograph (our choice: shards hold hundreds of samples)."""

MAX_SHRINK = 4.0
"""Most photograph pixels per page pixel and side (our choice: beyond, pictures turn to mush)."""

CROPS = 4
"""Crops of a photograph tried for bare text before one that carries little of it is taken."""

READABLE = 0.9
"""Part of a crop that must carry bare text; no other crop is tried then (our choice)."""

SMALLER = 8
"""A crop is judged by one in so many pixels of each side of its page, for speed."""

CACHE_BYTES = 3 * MAX_PIXELS
"""Decoded photographs kept, in bytes: room for the largest that we open."""


class Backgrounds:
    """Chooses and paints backgrounds of one size.

    `unreadable` names the photographs that could not be opened, with the reason; they are passed
    over in favour of the next one in the shuffled order.
    """

    def __init__(self, source: ImageSource, width: int, height: int) -> None:
        """Use `source` for pages of `width` x `height` px."""
        self.source = source
        self.size = (width, height)
        self.unreadable: dict[str, str] = {}
        self._positions = {source.name(i): i for i in range(len(source))}
        self._decoded: LRUCache[str, list[RGB]] = LRUCache(
            CACHE_BYTES, lambda levels: levels[0].nbytes
        )

    def forget(self) -> None:
        """Drop every decoded photograph."""
        self._decoded.clear()

    def choose(
        self, rng: np.random.Generator, seed: int, index: int, ground: Ground, floor: float
    ) -> Background:
        """Choose the background of page `index`: `rng` places the crop.

        For text on the `bare` photograph the crop is the first of CROPS on which inks hold the
        contrast `floor` nearly everywhere, or else the best of them.

        Raises:
            UserError: when no photograph can be read.
        """
        if ground == "flat":
            return _paper(rng)
        order = _order(seed, index // PAGES_PER_PHOTOGRAPH, len(self.source))
        passed_over: list[str] = []
        for position in order:
            name = self.source.name(int(position))
            photo = self._photo(name)
            if photo is not None:
                passed = tuple(passed_over)
                background = Background(name, passed, self._crop(rng, photo[0]))
                return self._readable(rng, background, floor) if ground == "bare" else background
            passed_over.append(name)
        name, reason = next(iter(self.unreadable.items()))
        raise UserError(
            f"photographs: none of {len(self.source)} in {self.source.root} can be read "
            f"({name}: {reason}); give a folder of intact images or flat_share = 1"
        )

    def _readable(
        self, rng: np.random.Generator, background: Background, floor: float
    ) -> Background:
        """Return a background whose crop carries bare text, this one if it does."""
        assert background.source is not None
        photo = self._photo(background.source)
        assert photo is not None
        tried: list[tuple[float, Background]] = []
        while True:
            # Single pixels tell mean and grain of what lies about them, and are quick to look at.
            part = self._part(background)
            step = max(1, round(SMALLER * part.shape[1] / self.size[0]))
            share = readable(np.ascontiguousarray(part[::step, ::step]), floor)
            tried.append((share, background))
            if share >= READABLE or len(tried) == CROPS:
                return max(tried, key=lambda judged: judged[0])[1]
            background = replace(background, crop=self._crop(rng, photo[0]))

    def paint(self, background: Background) -> RGB:
        """Paint a background, (h, w, 3) uint8: a new array, the caller's to paint on.

        Raises:
            UserError: when its photograph is not in the source or cannot be read.
        """
        if background.source is None:
            return _gradient(background.top, background.bottom, *self.size)
        import cv2

        part = self._part(background)
        return np.asarray(cv2.resize(part, self.size, interpolation=cv2.INTER_LINEAR), np.uint8)

    def _part(self, background: Background) -> RGB:
        """Return the crop of a photograph, halved until it is less than twice its page."""
        import cv2

        assert background.source is not None
        photo = self._photo(background.source)
        if photo is None:
            reason = self.unreadable.get(background.source, "not in this source")
            raise UserError(f"photographs: {background.source}: {reason}; give the same folder")
        crop, (high, wide) = background.crop, photo[0].shape[:2]
        if crop.empty or crop.intersection(Box(0, 0, wide, high)) != crop:
            raise UserError(
                f"photographs: {background.source} is {wide}x{high} px, the plan crops "
                f"{tuple(crop)}; give the same folder"
            )
        # Halving the photograph is paid once for several pages; the last step is below 2.
        level = 0
        while crop.width >> level >= 2 * self.size[0]:
            level += 1
        while len(photo) <= level:
            half = (photo[-1].shape[1] // 2, photo[-1].shape[0] // 2)
            photo.append(
                np.asarray(cv2.resize(photo[-1], half, interpolation=cv2.INTER_AREA), np.uint8)
            )
        return photo[level][Box(*(side >> level for side in crop)).slices]

    def _crop(self, rng: np.random.Generator, photo: RGB) -> Box:
        width, height = self.size
        high, wide = photo.shape[:2]
        largest = min(wide / width, high / height, MAX_SHRINK)
        scale = float(np.exp(rng.uniform(np.log(min(1.0, largest)), np.log(largest))))
        w, h = min(wide, max(1, round(width * scale))), min(high, max(1, round(height * scale)))
        left, top = int(rng.integers(wide - w + 1)), int(rng.integers(high - h + 1))
        return Box(left, top, left + w, top + h)

    def _photo(self, name: str) -> list[RGB] | None:
        """Return a decoded photograph and its halves so far, None when it cannot be read."""
        if name in self._decoded:
            return self._decoded[name]
        if name in self.unreadable or name not in self._positions:
            return None
        try:
            photo = decode(self.source.read(self._positions[name]).image, name)
        except UnreadableImage as error:
            self.unreadable[name] = error.reason
            return None
        self._decoded[name] = levels = [photo]
        return levels


@lru_cache(maxsize=1)
def _order(seed: int, group: int, count: int) -> NDArray[np.int64]:
    """Return the order in which `count` photographs are tried for a group of pages, read only."""
    # The trailing 1 keeps this stream apart from that of the page itself.
    return np.random.default_rng([seed, group, 1]).permutation(count)


def _paper(rng: np.random.Generator) -> Background:
    """Choose a sheet: white to cream mostly, at times dark, lit a little unevenly."""
    if rng.random() < 0.75:
        base = rng.uniform(225, 255) - np.array([0.0, rng.uniform(0, 6), rng.uniform(0, 22)])
    else:
        base = rng.uniform(15, 90, 3)
    shade = rng.normal(0, 5, 1)
    top, bottom = (np.clip(np.rint(base + sign * shade), 0, 255) for sign in (1, -1))
    return Background(top=_ints(top), bottom=_ints(bottom))


def _ints(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Colour:
    red, green, blue = (int(value) for value in values)
    return red, green, blue


def _gradient(top: Colour, bottom: Colour, width: int, height: int) -> RGB:
    share = np.linspace(0.0, 1.0, height)[:, None, None]
    column = np.rint(np.array(top) * (1 - share) + np.array(bottom) * share).astype(np.uint8)
    return np.repeat(column, width, axis=1)
