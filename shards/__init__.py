"""The contract between producers and the trainer: samples, shards, sidecars.

Bottom of the house: every other package may import this one; it imports none of them.
"""

from shards.errors import ShardError, UnreadableImage, UserError
from shards.reader import ShardReader
from shards.sample import RGB, Sample, decode, encode_png
from shards.settings import Settings, digest
from shards.sidecar import Entry, Sidecar
from shards.source import ImageSource
from shards.writer import ShardWriter

__all__ = [
    "RGB",
    "Entry",
    "ImageSource",
    "Sample",
    "Settings",
    "ShardError",
    "ShardReader",
    "ShardWriter",
    "Sidecar",
    "UnreadableImage",
    "UserError",
    "decode",
    "digest",
    "encode_png",
]
