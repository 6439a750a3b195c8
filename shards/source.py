"""Where real images come from: a folder, a list file, or the photographs that pip brought.

A source names its images in a fixed order, so that "image i of this source" means the same on
every worker. Nothing is decoded here beyond the header.
"""

import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from shards.errors import UnreadableImage, UserError
from shards.sample import FORMATS, Sample, open_bounded, oriented_size

IMAGE_ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp"})

MAX_BYTES = 256 * 2**20
"""Largest image file we read, in bytes (our choice: far above any photograph)."""

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
    """Image files in a fixed order.

    Names are paths relative to `root`, unique and sorted, so the order does not depend on the
    file system.
    """

    def __init__(self, root: Path, files: Sequence[Path]) -> None:
        """Hold `files` (absolute paths below `root`) sorted by their name below `root`."""
        self.root = root
        self.files = sorted(files, key=lambda file: file.relative_to(root).as_posix())

    @classmethod
    def folder(cls, root: Path) -> "ImageSource":
        """Take every PNG, JPEG and WebP file below `root`.

        Raises:
            UserError: when `root` is missing, is no folder, or holds no image file.
        """
        if not root.is_dir():
            raise UserError(f"images: {root} is not a folder; give a folder of {_endings()} files")
        root = root.resolve()
        files = [
            file
            for file in root.rglob("*")
            if file.suffix.lower() in IMAGE_ENDINGS and file.is_file()
        ]
        if not files:
            raise UserError(f"images: {root} holds no {_endings()} file; give a folder that does")
        return cls(root, files)

    @classmethod
    def embedded(cls, *, documents: bool = False) -> "ImageSource":
        """Take the photographs (and scanned documents) that the wheels of our packages hold.

        The packages are located, not imported: that would cost a second.
        """
        tables = [PHOTOGRAPHS, DOCUMENTS] if documents else [PHOTOGRAPHS]
        files = [
            _package_folder(package) / name
            for table in tables
            for package, names in table.items()
            for name in names
        ]
        return cls(_package_folder("skimage").parent, files)

    def __len__(self) -> int:
        """Count the images, readable or not."""
        return len(self.files)

    def name(self, i: int) -> str:
        """Return the name of image `i`: its path below the root, with forward slashes."""
        return self.files[i].relative_to(self.root).as_posix()

    def read(self, i: int) -> Sample:
        """Read image `i` as it is stored, with its size in the metadata.

        Raises:
            UnreadableImage: when the file is missing, too large or no image we store.
        """
        name = self.name(i)
        try:
            size = self.files[i].stat().st_size
            if size > MAX_BYTES:
                raise UnreadableImage(name, f"{size:,} bytes exceed {MAX_BYTES:,}")
            data = self.files[i].read_bytes()
        except OSError as error:
            raise UnreadableImage(name, error.strerror or "cannot be read") from error
        image = open_bounded(data, name)
        width, height = oriented_size(image)
        meta = {"kind": "photo", "source": name, "width": width, "height": height}
        return Sample(f"{i:09d}", data, FORMATS[str(image.format)], meta=meta)

    def subset(self, keep: Sequence[int]) -> "ImageSource":
        """Return a source of the images at the positions `keep`."""
        return ImageSource(self.root, [self.files[i] for i in keep])

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
        for i, file in enumerate(self.files):
            size = file.stat().st_size if file.exists() else -1
            state.update(f"{self.name(i)}\0{size}\n".encode())
        return state.hexdigest()


def _rank(name: str) -> float:
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _package_folder(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"package {package} is not installed; run pip install nonpareil")
    return Path(spec.submodule_search_locations[0])


def _endings() -> str:
    return ", ".join(sorted(IMAGE_ENDINGS))
