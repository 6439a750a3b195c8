"""Streams that nobody can index: tars behind URLs or commands, read from front to back.

    https://host/photos-{0000..0999}.tar     any number of tars, braces as in a shell
    hf://datasets/OWNER/NAME/{000..123}.tar  a hub, with the token of its own login
    pipe:COMMAND                             what a command of the user's prints; :: joins several

The package webdataset opens them, by curl or by the command. A command is the user's own, from the
command line: neither recipes nor data name streams.

No sample has a number here. Ranks and loader processes read tars of their own, each epoch others,
and shuffle what they read in a buffer. A run that goes on skips as many samples as were drawn.
"""

import re
from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import count
from zlib import crc32

import numpy as np

from shards import Sample, ShardError, ShardReader, UnreadableImage, UserError
from shards.images.decoding import open_bounded, oriented_size
from shards.store import Places, Where, each_of
from shards.stream import TRIES
from vae.data.batch import Replaced
from vae.data.pictures import Picture
from vae.data.tars import Taken, unpacked

SCHEMES = ("http://", "https://", "hf://", "pipe:")

JOINED = f"::(?={'|'.join(SCHEMES)})"
"""What joins several addresses in one."""

BUFFER, BUFFER_BYTES = 256, 256 * 2**20
"""Samples among which the next one is drawn, and bytes of them after which they may be fewer (our
choice: 256 images of a megabyte)."""

MOST_SMALL = 10_000
"""Images in a row that may be too small before the run stops (our choice: one in a thousand of a
web crawl holds 2048 x 2048 px)."""

ANY_SIZE = np.full((1, 2), 2**16 - 1, np.uint16)
"""What a curriculum takes for the sizes (h, w) of a stream that tells none: one square sample that
holds every shape. What turns out to be smaller is passed over."""


class Unindexed:
    """The samples of tars that can only be read from front to back."""

    def __init__(self, url: str) -> None:
        """Name the tars; nothing is opened yet.

        Raises:
            UserError: when webdataset is not installed, or braces do not match.
        """
        try:
            from braceexpand import braceexpand
        except ImportError as error:
            raise UserError(f"{url} needs webdataset; pip install 'nonpareil[train]'") from error
        self.url = url
        try:
            self.tars = [tar for part in re.split(JOINED, url) for tar in braceexpand(part)]
        except ValueError as error:
            raise UserError(f"{url}: its braces do not match; write {{0000..0999}}") from error

    @property
    def fingerprint(self) -> str:
        """Name the stream by its tars' addresses, all that is known of it, in 16 digits."""
        return sha256("\n".join(self.tars).encode()).hexdigest()[:16]

    def check_parts(self, stream: str, parts: int) -> None:
        """Raise UserError when there are fewer tars than processes that would read them."""
        if parts > len(self.tars):
            raise UserError(
                f"stream {stream}: {parts} processes (ranks x loaders) cannot share "
                f"{len(self.tars)} tars without an index; start at most so many, or give more tars"
            )

    def read(self, part: int, parts: int, seed: int, skip: int = 0) -> Iterator[Taken]:
        """Yield, without end, what process `part` of `parts` reads, after `skip` samples.

        The processes together read each tar once an epoch.

        Raises:
            ShardError: when an epoch holds no sample at all.
        """
        samples = self._endless(part, parts, seed)
        while skip:
            skip -= isinstance(next(samples), Sample)
        return samples

    def _endless(self, part: int, parts: int, seed: int) -> Iterator[Taken]:
        for epoch in count():
            last: UnreadableImage | None = None
            samples = 0
            for taken in self._epoch(part, parts, (seed, crc32(self.url.encode()), epoch)):
                if isinstance(taken, Sample):
                    samples += 1
                else:
                    last = taken
                yield taken
            if not samples:
                raise ShardError(
                    f"{self.url.partition('?')[0]}: no sample in any of its tars "
                    f"({last or 'they are empty'}); check the address"
                )

    def _epoch(self, part: int, parts: int, seed: tuple[int, ...]) -> Iterator[Taken]:
        # The same order of tars in all processes, of which each takes its part.
        tars = np.random.default_rng(seed).permutation(len(self.tars))[part::parts]
        rng = np.random.default_rng((*seed, part))
        held: list[Sample] = []
        size = 0

        def drawn() -> Sample:
            nonlocal size
            place = int(rng.integers(len(held)))
            held[place], held[-1] = held[-1], held[place]
            size -= held[-1].nbytes
            return held.pop()

        for number in tars.tolist():
            for taken in unpacked(self.tars[number]):
                if isinstance(taken, UnreadableImage):
                    yield taken
                    continue
                held.append(taken)
                size += taken.nbytes
                while len(held) == BUFFER or size > BUFFER_BYTES:
                    yield drawn()
        while held:
            yield drawn()


class Reading:
    """Where one process is in a stream: pictures as they come, those too small passed over."""

    def __init__(
        self, stream: str, samples: Iterator[Taken], decode: Callable[[Sample], Picture]
    ) -> None:
        self.stream, self.too_small = stream, 0
        self._samples, self._decode = samples, decode

    def take(self, shape: tuple[int, int], replaced: list[Replaced]) -> tuple[str, Picture]:
        """Return the key and the picture of the next image that holds `shape` (h, w) px.

        What is broken is added to `replaced`, what is too small counted.

        Raises:
            ShardError: when TRIES in a row are broken, MOST_SMALL too small, or all tars empty.
        """
        broken, first = len(replaced), self.too_small
        while len(replaced) < broken + TRIES and self.too_small < first + MOST_SMALL:
            taken = next(self._samples)
            if isinstance(taken, UnreadableImage):
                replaced.append(Replaced(self.stream, taken.name, taken.reason))
                continue
            try:
                # The header tells, in a hundredth of the time.
                width, height = oriented_size(open_bounded(taken.image, taken.key))
                if height < shape[0] or width < shape[1]:
                    self.too_small += 1
                    continue
                return taken.key, self._decode(taken)
            except UnreadableImage as error:
                replaced.append(Replaced(self.stream, error.name, error.reason))
            except ShardError as error:
                replaced.append(Replaced(self.stream, taken.key, str(error)))
        wrong = f"{MOST_SMALL:,} images in a row are smaller than {shape[1]}x{shape[0]} px"
        if len(replaced) > broken:
            wrong = f"{TRIES} samples in a row cannot be used ({replaced[-1].reason})"
        raise ShardError(f"stream {self.stream}: {wrong}; give other tars or lower the resolution")


def is_unindexed(where: Where) -> bool:
    """Say whether a place is read through webdataset: by its scheme."""
    return isinstance(where, str) and where.startswith(SCHEMES)


def open_stream(where: Places) -> ShardReader | Unindexed:
    """Open what a stream is given by: folders and buckets, or tars that nobody can index.

    Raises:
        UserError: when one is missing, empty or of no kind known, or both kinds are given.
    """
    places = each_of(where)
    urls = [str(place) for place in places if is_unindexed(place)]
    if not urls:
        return ShardReader(places)
    if len(urls) < len(places):
        raise UserError(
            f"{urls[0]} has no index and the other places of its stream have one; give it a name "
            "of its own"
        )
    return Unindexed("::".join(urls))
