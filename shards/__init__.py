"""The contract between producers and the trainer: samples, shards, sidecars.

Bottom of the house: every other package may import this one; it imports none of them. Names are
imported when they are first used, so that `--help` and `shards ls` do not wait for NumPy and
Pillow.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shards.dataset import Dataset
    from shards.errors import ShardError, StoreError, Unreadable, UnreadableImage, UserError
    from shards.images.decoding import RGB, decode
    from shards.order import Order
    from shards.reader import ShardReader
    from shards.sample import Sample, encode, encode_png
    from shards.settings import Settings, digest
    from shards.sidecar import Entry, Sidecar
    from shards.source import ImageSource
    from shards.store import Store, open_store
    from shards.stream import Stream
    from shards.writer import ShardWriter

__all__ = [
    "RGB",
    "Dataset",
    "Entry",
    "ImageSource",
    "Order",
    "Sample",
    "Settings",
    "ShardError",
    "ShardReader",
    "ShardWriter",
    "Sidecar",
    "Store",
    "StoreError",
    "Stream",
    "Unreadable",
    "UnreadableImage",
    "UserError",
    "decode",
    "digest",
    "encode",
    "encode_png",
    "open_store",
]

_MODULES = (
    "errors",
    "settings",
    "store",
    "images.decoding",
    "sample",
    "sidecar",
    "dataset",
    "source",
    "order",
    "reader",
    "stream",
    "writer",
)
"""Where the names above live, lightest first."""


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in _MODULES:
            offered = vars(import_module(f"shards.{module}"))
            if name in offered:
                return offered[name]
    raise AttributeError(f"module 'shards' has no attribute {name!r}")
