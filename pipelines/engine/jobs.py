"""What one shard is: a pure function of (job, shard index).

A job is the settings class of a recipe. It can name its shards, say what their bytes depend on,
and make any one of them; where and in which order that happens is the business of
`pipelines/engine/workers.py`.
"""

import hashlib
import logging
import re
from abc import abstractmethod
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any
from zlib import crc32

import numpy as np
from pydantic import Field

import filters
import render
import shards
from filters import Chain, FilterSettings, build
from pipelines.engine.signs import Tell, silently
from pipelines.recipe import atlas_folder
from render import Label, Renderer, RenderSettings, trimmed
from shards import (
    RGB,
    ImageSource,
    Sample,
    ShardWriter,
    Sidecar,
    Store,
    UnreadableImage,
    encode_png,
)
from shards.dataset import Dataset
from shards.numbers import write_numbers
from shards.outputs import claim, digest_of
from shards.places import AnyPlace, apart
from shards.settings import Seed, Settings
from shards.sidecar import Summary
from shards.source import Part

Count = Annotated[int, Field(ge=1, lt=2**31)]
"""Shards, or samples of one: multiplied they stay within what `shards.Order` shuffles."""


log = logging.getLogger(__name__)


class Job(Settings):
    """A recipe whose output is shards."""

    @abstractmethod
    def count(self) -> int:
        """Count the shards."""

    @abstractmethod
    def inputs(self) -> dict[str, str]:
        """Fingerprint the files the shards are made from."""

    @abstractmethod
    def make_shard(self, index: int, out: Store, tell: Tell = silently) -> Sidecar:
        """Write shard `index` into `out` and return its sidecar; tell of each sample."""

    def identity(self) -> dict[str, Any]:
        """Return everything the bytes of a shard depend on, and the places where inputs lie.

        The number of shards is left out: more of them may be added to an output later. Which
        images are judged is seen in the inputs.
        """
        kind, inputs = type(self).__name__, self.inputs()
        return {"kind": kind, **apart(self, ("shards", "at_most")), "inputs": inputs}

    @cached_property
    def digest(self) -> str:
        """Return the digest of the identity: the name of this recipe on these inputs."""
        return digest_of(self.identity())

    def _writer(self, index: int, out: Store, tell: Tell) -> ShardWriter:
        return ShardWriter(out, index, recipe=self.digest, versions=provenance(), tell=tell)

    def caution(self) -> str:
        """Say in a line what a large dataset of this recipe would lack; empty if nothing."""
        return ""


class RenderJob(Job):
    """Render text pages: shard i holds the samples i·n … (i+1)·n - 1.

    `label` is how much of the truth about a page is written beside its picture.
    """

    seed: Seed = 0
    shards: Count = 8
    samples_per_shard: Count = 256
    label: Label = "plan"
    render: RenderSettings = RenderSettings()

    @cached_property
    def renderer(self) -> Renderer:
        """Build the renderer: fonts, corpus and photographs, once per process."""
        return Renderer(self.render, self.seed, atlas=atlas_folder())

    def count(self) -> int:
        """Return the number of shards asked for."""
        return self.shards

    def inputs(self) -> dict[str, str]:
        """Fingerprint fonts, corpus and photographs."""
        return self.renderer.fingerprints()

    def caution(self) -> str:
        """Say which of photographs and text are the few that pip brought."""
        named = {
            "render.photographs": f"{len(self.renderer.source)} photographs",
            "render.corpus": "a little text",
        }
        given = {"render.photographs": self.render.photographs, "render.corpus": self.render.corpus}
        lacking = [name for name, place in given.items() if place is None]
        if not lacking:
            return ""
        few = " and ".join(named[name] for name in lacking)
        return (
            f"{few}, as pip brought, come again and again; "
            f"give {' and '.join(lacking)} for more than a try"
        )

    def make_shard(self, index: int, out: Store, tell: Tell = silently) -> Sidecar:
        """Render one shard."""
        first = index * self.samples_per_shard
        with self._writer(index, out, tell) as writer:
            broken: set[str] = set()
            for i in range(first, first + self.samples_per_shard):
                sample = self.renderer.sample(i)
                broken.update(sample.meta["plan"].background.passed_over)
                label = trimmed(sample.meta, self.label)
                writer.write(Sample(sample.key, sample.image, sample.format, sample.text, label))
            for name in sorted(broken):
                writer.drop(name, "unreadable", detail=self.renderer.unreadable[name])
            if not index:
                writer.skip(self.renderer.skips)
            # Before the shard appears: whoever is interrupted meanwhile has not yet to count it.
            self.renderer.material.atlas.save()
        assert writer.sidecar is not None
        return writer.sidecar


class FilterJob(Job):
    """Keep the real images that pass every filter; record why the others did not.

    `images` is a folder or a bucket, or none for the photographs that pip brought. Bytes of kept
    images are stored as they came, or as PNG where shards do not hold their format. With `at_most`
    no more are judged, chosen by the digests of their names: a sample of a large folder. With
    `piece` no more than a square of so many px of each is kept, at its own scale and as PNG, for a
    run that draws more crops than it has time to decode whole photographs for.
    """

    images: AnyPlace | None = None
    part: Part = "all"
    at_most: Count | None = None
    piece: Annotated[int, Field(ge=256, lt=2**31)] | None = None
    images_per_shard: Count = 64
    filter: tuple[FilterSettings, ...] = Field(min_length=1)

    @cached_property
    def offered(self) -> ImageSource:
        """List the images that there are."""
        return ImageSource.named(self.images, self.part)

    @cached_property
    def source(self) -> ImageSource:
        """List the images that are judged."""
        return self.offered if self.at_most is None else self.offered.at_most(self.at_most)

    @cached_property
    def chain(self) -> Chain:
        """Build the filters, with their OCR engine, once per process."""
        return build(self.filter)

    def count(self) -> int:
        """Return the number of shards that hold the source."""
        return -(-len(self.source) // self.images_per_shard)

    def inputs(self) -> dict[str, str]:
        """Fingerprint the images."""
        return {"images": self.source.fingerprint()}

    def make_shard(self, index: int, out: Store, tell: Tell = silently) -> Sidecar:
        """Judge the images of one shard."""
        first = index * self.images_per_shard
        with self._writer(index, out, tell) as writer:
            for i in range(first, min(first + self.images_per_shard, len(self.source))):
                self._judge(i, writer)
            if not index:
                writer.skip(self.source.skips)
        assert writer.sidecar is not None
        return writer.sidecar

    def _judge(self, i: int, writer: ShardWriter) -> None:
        try:
            sample = self.source.read(i)
            pixels = sample.pixels()
        except UnreadableImage as error:
            writer.drop(self.source.name(i), "unreadable", detail=error.reason)
            return
        verdict = self.chain.judge(pixels)
        if verdict.reason is not None:
            writer.drop(self.source.name(i), verdict.reason, scores=verdict.scores)
            return
        sample.meta["scores"] = verdict.scores
        if self.piece is None or max(pixels.shape) <= self.piece:
            writer.write(sample.stored(pixels))
        else:
            writer.write(_piece(sample, pixels, self.piece))


def _piece(sample: Sample, pixels: RGB, side: int) -> Sample:
    """Cut a square, or less where the image ends, at a place that follows from its name."""
    rng = np.random.default_rng(crc32(sample.meta["source"].encode("utf-8", "surrogateescape")))
    top, left = (int(rng.integers(max(0, have - side) + 1)) for have in pixels.shape[:2])
    piece = pixels[top : top + side, left : left + side]
    size = {"width": piece.shape[1], "height": piece.shape[0]}
    meta = {**sample.meta, **size, "piece": [left, top]}
    return Sample(sample.key, encode_png(piece), "png", meta=meta)


@cache
def provenance() -> dict[str, str]:
    """Return the versions of the libraries that shape pixels, and a digest of our own code.

    A shard that comes out otherwise than before can then be told from one that was damaged.
    """
    code = hashlib.sha256()
    for package in (filters, render, shards):
        folder = Path(str(package.__file__)).parent
        for path in sorted([*folder.rglob("*.py"), *folder.rglob("*.toml")]):
            code.update(path.read_bytes())
    return {**render.versions(), "code": code.hexdigest()[:12]}


def pack(job: Job) -> tuple[type[Job], str]:
    """Write a job as (class, JSON), to send it to another process without its heavy state."""
    return type(job), job.model_dump_json()


@cache
def unpack(kind: type[Job], text: str) -> Job:
    """Rebuild a packed job; the same one every time within a process, so it is warm."""
    return kind.model_validate_json(text)


def tidy(out: Store) -> None:
    """Remove the temporary files of shards that are finished, whatever machine they come from.

    A worker that was killed leaves one. Another run that still writes to one finds, when it fails,
    that its shard is there.
    """

    def useless(name: str) -> bool:
        shard = re.match(r"\.(part-\d{6,})\.(?:tar|json)\.", name)
        return shard is not None and out.exists(f"{shard[1]}.json")

    out.sweep(useless)


def open_output(job: Job, out: Store) -> Iterator[Summary]:
    """Claim `out` for a job, tidy what killed runs left, and sum up the shards that are whole.

    A damaged shard is made to look unmade, so that the run makes it again: its sidecar is removed.
    Those that another recipe made are named in the log.

    Raises:
        UserError: when another recipe made what lies in `out`; nothing is touched.
        ShardError: when a sidecar is broken.
    """
    claim(out, job.identity())
    out.sweep()
    dataset, others = Dataset(out), list[int]()
    for summary in dataset.summaries():
        if damage := dataset.damage(summary):
            out.delete(summary.name)
            if damage.kind == "recipe":
                others.append(summary.shard)
        else:
            yield summary
    if others:
        named = write_numbers(others, limit=10)
        log.warning("%s: another recipe made shards %s; they are made again", out, named)
