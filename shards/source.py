"""Where real images come from: folders, tars, lists, or the photographs that pip brought.

A source names its images in a fixed order, so that "image i of this source" means the same on
every worker. Nothing is decoded here beyond the header.
"""

import hashlib
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shards.embedded import installed
from shards.errors import UnreadableImage, UserError
from shards.image import READABLE, format_of, open_bounded, oriented_size
from shards.sample import Sample
from shards.store import MAX_BYTES

IMAGE_ENDINGS = frozenset(f".{ending}" for ending in READABLE)

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


@dataclass(frozen=True, slots=True)
class Place:
    """Where one image lies: a file, or `size` bytes at `offset` of a tar."""

    name: str
    file: Path
    offset: int = 0
    size: int | None = None

    def bytes(self) -> int:
        """Return the size of the image in bytes, -1 when its file is gone."""
        if self.size is not None:
            return self.size
        return self.file.stat().st_size if self.file.exists() else -1


class ImageSource:
    """Images in a fixed order.

    Names are unique and sorted, so the order does not depend on the file system: paths relative
    to `root`, and for the members of a tar its path, a slash and their own.
    """

    def __init__(self, root: Path, places: Sequence[Place]) -> None:
        """Hold `places` sorted by name; `root` is what the user gave, for messages."""
        self.root = root
        self.places = sorted(places, key=lambda place: place.name)

    @classmethod
    def at(cls, root: Path) -> "ImageSource":
        """Take a folder, a tar of images, or a text file that lists images or tars, one a line.

        Raises:
            UserError: when `root` is missing, is none of these, or holds no image.
        """
        if root.is_dir():
            return cls.folder(root)
        if not root.is_file():
            raise UserError(
                f"images: {root} is not a folder; give a folder of {_endings()} or .tar files, "
                "a .tar, or a .txt that lists them"
            )
        if root.suffix == ".tar":
            return cls._filled(root, _members(root, root.name))
        if root.suffix != ".txt":
            raise UserError(
                f"images: {root} is neither .tar nor .txt; give a folder or one of them"
            )
        listed = [line.strip() for line in _lines(root) if line.strip()]
        files = [(line, root.parent / line) for line in dict.fromkeys(listed)]
        missing = [name for name, file in files if not file.is_file()]
        if missing:
            raise UserError(
                f"images: {root} lists {missing[0]}, which does not exist ({len(missing)} of "
                f"{len(files)} are missing); list paths relative to its folder, one a line"
            )
        return cls._filled(root, [place for name, file in files for place in _within(name, file)])

    @classmethod
    def named(cls, root: Path | None, part: Part) -> "ImageSource":
        """Take a part of what a recipe names: `at` a path, or all `embedded` images for None.

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
        root = root.resolve()
        files = [
            file
            for file in root.rglob("*")
            if file.suffix.lower() in {*IMAGE_ENDINGS, ".tar"} and file.is_file()
        ]
        names = [file.relative_to(root).as_posix() for file in files]
        places = [
            place for name, file in zip(names, files, strict=True) for place in _within(name, file)
        ]
        return cls._filled(root, places)

    @classmethod
    def _filled(cls, root: Path, places: Sequence[Place]) -> "ImageSource":
        if not places:
            raise UserError(f"images: {root} holds no {_endings()} file; give a folder that does")
        return cls(root, places)

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
        """
        place = self.places[i]
        try:
            size = place.file.stat().st_size if place.size is None else place.size
            if size > MAX_BYTES:
                raise UnreadableImage(place.name, f"{size:,} bytes exceed {MAX_BYTES:,}")
            with place.file.open("rb") as file:
                file.seek(place.offset)
                data = file.read(size)
        except OSError as error:
            raise UnreadableImage(place.name, error.strerror or "cannot be read") from error
        if len(data) < size:
            raise UnreadableImage(place.name, f"truncated: {len(data):,} of {size:,} bytes")
        image = open_bounded(data, place.name)
        width, height = oriented_size(image)
        meta = {"kind": "photo", "source": place.name, "width": width, "height": height}
        return Sample(f"{i:09d}", data, format_of(data, place.name).ending, meta=meta)

    def subset(self, keep: Sequence[int]) -> "ImageSource":
        """Return a source of the images at the positions `keep`."""
        return ImageSource(self.root, [self.places[i] for i in keep])

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


def _within(name: str, file: Path) -> list[Place]:
    """Return the images in a file: the file itself, or those inside a tar."""
    return _members(file, name) if file.suffix.lower() == ".tar" else [Place(name, file)]


def _members(tar: Path, name: str) -> list[Place]:
    """List the images inside a plain tar, as WebDataset and img2dataset write them.

    Raises:
        UserError: when it is broken or compressed.
    """
    try:
        with tarfile.open(tar, "r:") as archive:
            return [
                Place(f"{name}/{member.name}", tar, member.offset_data, member.size)
                for member in archive
                if member.isreg() and Path(member.name).suffix.lower() in IMAGE_ENDINGS
            ]
    except (tarfile.TarError, OSError) as error:
        raise UserError(
            f"images: {tar} is no plain tar that can be read ({error}); unpack or remake it"
        ) from error


def _lines(path: Path) -> list[str]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"images: {path} is larger than {MAX_BYTES:,} bytes; split the list")
        return path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"images: {path} is no UTF-8 text that can be read ({error})") from error


def _rank(name: str) -> float:
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _package_folder(package: str) -> Path:
    folder = installed(package)
    if folder is None:
        raise UserError(f"package {package} is not installed; run pip install nonpareil")
    return folder


def _endings() -> str:
    return ", ".join(sorted(IMAGE_ENDINGS))
