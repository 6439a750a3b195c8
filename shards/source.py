"""Where real images come from: folders, buckets, tars, lists, or the photographs that pip brought.

A source names its images in a fixed order, so that "image i of this source" means the same on
every worker. Nothing is decoded here beyond the header.
"""

import hashlib
import stat
from collections.abc import Iterable, Sequence
from contextlib import closing
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Literal

from shards.embedded import installed
from shards.errors import UnreadableImage, UserError
from shards.images.decoding import open_bounded, oriented_size
from shards.images.formats import READABLE, format_of
from shards.listing import Place, in_bucket, in_folder, in_list, in_tar
from shards.places import path_or_bucket
from shards.sample import Sample
from shards.skipped import Skips, readable, skipped_in_words
from shards.store import MAX_BYTES, Bucket, Object, Where
from shards.tars.headers import SPECIAL

Part = Literal["all", "train", "heldout"]

HELD_OUT_FROM = 0.8
"""Images whose rank in [0, 1) is at least this are held out (our choice: a fifth)."""

PHOTOGRAPHS = {
    "skimage": (
        "data/astronaut.png",
        "data/brick.png",
        "data/camera.png",
        "data/chelsea.png",
        "data/clock_motion.png",
        "data/coffee.png",
        "data/coins.png",
        "data/grass.png",
        "data/gravel.png",
        "data/hubble_deep_field.jpg",
        "data/ihc.png",
        "data/motorcycle_left.png",
        "data/retina.jpg",
        "data/rocket.jpg",
    ),
    "sklearn": ("datasets/images/china.jpg", "datasets/images/flower.jpg"),
}
"""Photographs inside the scikit-image (public domain, CC0) and scikit-learn (CC-BY) wheels."""

DOCUMENTS = {"skimage": ("data/page.png", "data/text.png")}
"""Photographed and scanned text inside the scikit-image wheel."""


class ImageSource:
    """Images in a fixed order.

    Names are unique and sorted, so the order does not depend on the file system: paths relative
    to `root`, and for the members of a tar its path, a slash and their own.
    """

    def __init__(
        self, root: Path | Bucket, places: Iterable[Place], skips: Skips | None = None
    ) -> None:
        """Hold `places` sorted by name; `root` is what the user gave, for messages.

        `skips` counts what else lies there. Of images that share a name, as in tars that were
        joined, the second is called `NAME#2`, and so on.
        """
        self.root, self.skips = root, skips or Skips()
        named = groupby(sorted(places, key=attrgetter("name")), attrgetter("name"))
        self.places = [
            place._replace(name=f"{name}#{number}") if number > 1 else place
            for name, same in named
            for number, place in enumerate(same, 1)
        ]

    @classmethod
    def at(cls, where: Where) -> "ImageSource":
        """Take a folder, a tar of images, or a text file that lists images or tars, one a line.

        In a bucket that is a prefix, with all that lies below, or a tar.

        Raises:
            UserError: when nothing is there, it is none of these, or holds no image.
            StoreError: when a bucket does not answer.
        """
        root = path_or_bucket(where)
        if isinstance(root, Bucket):
            return cls._remote(root)
        if root.is_dir():
            return cls.folder(root)
        if not root.is_file():
            raise UserError(
                f"images: {root} is not a folder; give a folder of {_endings()} or .tar files, "
                "a .tar, or a .txt that lists them"
            )
        skips, ending = Skips(), root.suffix.lower()
        if ending == ".tar":
            return cls._filled(root, in_tar(root, readable(root.name), skips), skips)
        if ending != ".txt":
            raise UserError(
                f"images: {root} is neither .tar nor .txt; give a folder or one of them"
            )
        return cls._filled(root, in_list(root, skips), skips)

    @classmethod
    def _remote(cls, root: Bucket) -> "ImageSource":
        skips, ending = Skips(), root.url.rpartition(".")[2].lower()
        if ending == "txt":
            raise UserError(
                f"images: {root} is in a bucket, where lists are not read; give a prefix or a .tar "
                "there, or a list on this machine"
            )
        if ending != "tar":
            return cls._filled(root, in_bucket(root, skips), skips)
        above, name = root.above()
        try:
            tar = Object(above, name, above.size(name))
        except FileNotFoundError as error:
            raise UserError(f"images: {root} is not there; give a prefix or a .tar") from error
        return cls._filled(root, in_tar(tar, name, skips), skips)

    @classmethod
    def named(cls, root: Where | None, part: Part) -> "ImageSource":
        """Take a part of what a recipe names: `at` a place, or all `embedded` images for None.

        Raises:
            UserError: as `at` and `part` do.
        """
        whole = cls.embedded(documents=True) if root is None else cls.at(root)
        return whole.part(part)

    @classmethod
    def folder(cls, root: Path) -> "ImageSource":
        """Take every image file below `root`, and those inside its tars.

        Raises:
            UserError: when `root` is missing, is no folder, or holds no image.
        """
        if not root.is_dir():
            raise UserError(f"images: {root} is not a folder; give a folder of {_endings()} files")
        skips = Skips()
        return cls._filled(root, in_folder(root.resolve(), skips), skips)

    @classmethod
    def _filled(cls, root: Path | Bucket, places: Iterable[Place], skips: Skips) -> "ImageSource":
        source = cls(root, places, skips)
        if not source.places:
            others = skipped_in_words(skips.counts)
            raise UserError(
                f"images: {root} holds no {_endings()} file{others and f' (but {others})'}; give a "
                "folder that does"
            )
        return source

    @classmethod
    def embedded(cls, *, documents: bool = False) -> "ImageSource":
        """Take the photographs (and scanned documents) that the wheels of our packages hold.

        The packages are located, not imported: that would cost a second.
        """
        tables = [PHOTOGRAPHS, DOCUMENTS] if documents else [PHOTOGRAPHS]
        places = [
            Place(f"{package}/{name}", _package_folder(package) / name)
            for table in tables
            for package, names in table.items()
            for name in names
        ]
        return cls(_package_folder("skimage").parent, places)

    def __len__(self) -> int:
        """Count the images, readable or not."""
        return len(self.places)

    def name(self, i: int) -> str:
        """Return the name of image `i`, with forward slashes."""
        return self.places[i].name

    def read(self, i: int) -> Sample:
        """Read image `i` as it is stored, with its size in the metadata.

        Raises:
            UnreadableImage: when the file is missing, too large or no image we read.
            StoreError: when a bucket does not answer.
        """
        place = self.places[i]
        try:
            data = _bytes_at(place)
        except OSError as error:
            raise UnreadableImage(place.name, error.strerror or "cannot be read") from error
        image = open_bounded(data, place.name)
        width, height = oriented_size(image)
        meta = {"kind": "photo", "source": place.name, "width": width, "height": height}
        return Sample(f"{i:09d}", data, format_of(data, place.name).ending, meta=meta)

    def subset(self, keep: Sequence[int]) -> "ImageSource":
        """Return a source of the images at the positions `keep`."""
        return ImageSource(self.root, [self.places[i] for i in keep], self.skips)

    def at_most(self, count: int) -> "ImageSource":
        """Return `count` of the images, or all where there are no more.

        The digests of the names choose, so it is the same choice on every machine, and a smaller
        count chooses among the same images.
        """
        ranks = sorted((_rank(self.name(i)), i) for i in range(len(self)))
        return self.subset([i for _, i in ranks[:count]])

    def part(self, name: Part) -> "ImageSource":
        """Return the images for training, the held-out fifth, or all of them.

        Membership follows from the digest of each name alone, so every consumer of a folder
        holds out the same images and adding some moves none of the others.

        Raises:
            UserError: when there is only one image, so that nothing can be held out.
        """
        if name == "all":
            return self
        if len(self) < 2:
            raise UserError(f"images: {self.root} holds 1 image; give 2 or more to hold one out")
        ranks = [_rank(self.name(i)) for i in range(len(self))]
        # At least one image on either side, whatever the digests say.
        ordered = sorted(ranks)
        limit = min(max(HELD_OUT_FROM, ordered[1]), ordered[-1])
        held_out = name == "heldout"
        return self.subset([i for i, rank in enumerate(ranks) if (rank >= limit) == held_out])

    def fingerprint(self) -> str:
        """Digest the names and sizes of all files: it changes when the folder's content does.

        Contents are not read (a million photographs would take hours); a file replaced by one
        of equal length goes unnoticed.
        """
        state = hashlib.sha256()
        for place in self.places:
            state.update(f"{place.name}\0{place.bytes()}\n".encode())
        return state.hexdigest()


def _bytes_at(place: Place) -> bytes:
    if isinstance(place.file, Object):
        held = place.file.size
    else:
        status = place.file.stat()
        if not stat.S_ISREG(status.st_mode):  # nothing else is ever opened
            raise UnreadableImage(place.name, SPECIAL)
        held = status.st_size
    size = held if place.size is None else place.size
    if size > MAX_BYTES:
        raise UnreadableImage(place.name, f"{size:,} bytes exceed {MAX_BYTES:,}")
    if isinstance(place.file, Object):
        with closing(place.file.open()) as file:
            data = file.read(place.offset, size)
    else:
        with place.file.open("rb") as file:
            file.seek(place.offset)
            data = file.read(size)
    if len(data) < size:
        raise UnreadableImage(place.name, f"truncated: {len(data):,} of {size:,} bytes")
    return data


def _rank(name: str) -> float:
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _package_folder(package: str) -> Path:
    folder = installed(package)
    if folder is None:
        raise UserError(f"package {package} is not installed; run pip install nonpareil")
    return folder


def _endings() -> str:
    return ", ".join(sorted(f".{ending}" for ending in READABLE))
