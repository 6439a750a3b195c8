"""What a training run writes down beside its checkpoints, for people and their programs.

    metrics.jsonl       a row a logged step
    watch.jsonl         a row a watch
    skipped.jsonl       a row a skipped step or roll-back
    dropped.jsonl       a row a sample that could not be opened
    samples/            originals above reconstructions, a PNG a watch and watched set
    events.out.tf...    the first two for TensorBoard, over n

A run that goes on from a checkpoint at n takes the steps behind it again: what was written of them
is cut off first.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from torch.utils.tensorboard.writer import SummaryWriter

from shards import RGB, encode_png
from shards.store import write_atomically
from vae.curriculum.curriculum import Knobs

METRICS, WATCH = "metrics.jsonl", "watch.jsonl"
SKIPPED, DROPPED = "skipped.jsonl", "dropped.jsonl"

SAMPLES = "samples"
"""The folder of the grids."""


class Record:
    """The records of one run in a local folder, continued at `n`.

    With `writes` off nothing is written at all: that is how every rank but the first has one.
    """

    def __init__(self, folder: Path, n: int, *, writes: bool = True) -> None:
        """Cut off what was written behind `n`."""
        self.folder, self._writes = folder, writes
        if not writes:
            return
        for name in (METRICS, WATCH, SKIPPED, DROPPED):
            _cut(folder / name, n)
        for path in (folder / SAMPLES).glob("*.png"):
            if grid_place(path.name) > n:
                path.unlink()
        self._board = SummaryWriter(str(folder), purge_step=n + 1 if n else None)

    def write(self, row: Mapping[str, Any]) -> None:
        """Append a row to metrics.jsonl; every number in it goes to TensorBoard, over its `n`."""
        self.append(METRICS, row)
        self._scalars(row, row["n"])

    def watch(self, row: Mapping[str, Any], grids: Mapping[str, RGB]) -> None:
        """Append a row to watch.jsonl and keep a grid (h, w, 3) uint8 for each watched set."""
        self.append(WATCH, row)
        self._scalars(row["sets"], row["n"])
        if not self._writes:
            return
        (self.folder / SAMPLES).mkdir(exist_ok=True)
        for name, pixels in grids.items():
            grid = self.folder / SAMPLES / grid_name(name, row["n"])
            write_atomically(grid, encode_png(pixels))
            self._board.add_image(f"{SAMPLES}/{name}", pixels, row["n"], dataformats="HWC")

    def append(self, name: str, row: Mapping[str, Any]) -> None:
        """Append a row to one of the files."""
        if self._writes:
            with (self.folder / name).open("a") as file:
                file.write(json.dumps(row) + "\n")

    def count(self, name: str) -> int:
        """Count the rows of one of the files that are kept; 0 where nothing is written."""
        path = self.folder / name
        if not self._writes or not path.exists():
            return 0
        return len(path.read_text().splitlines())

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files."""
        if self._writes:
            self._board.close()

    def _scalars(self, row: Mapping[str, Any], n: int) -> None:
        if self._writes:
            for name, value in numbers(row):
                if name not in ("n", "step"):
                    self._board.add_scalar(name, value, n)


def settled(knobs: Knobs) -> dict[str, Any]:
    """Return what a row says of the knobs of a step: all that the curriculum decides."""
    height, width = knobs.shape
    return {
        "stage": knobs.stage.name,
        "height": height,
        "width": width,
        "images": knobs.samples,
        "rate": knobs.rate,
        "shares": knobs.shares,
        "weights": knobs.weights.model_dump(),
    }


def numbers(row: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, float]]:
    """Yield every number of nested tables, by its path: `shares/general`. Lists are left out."""
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from numbers(value, f"{above}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{above}{name}", value


def grid(pairs: list[tuple[RGB, RGB]]) -> RGB:
    """Lay originals (h, w, 3) above their reconstructions, at their own size: (2 h, k w, 3) uint8.

    Smaller ones lie in the upper left of their cell, the rest of which is white.
    """
    height, width = (max(pixels.shape[axis] for pixels, _ in pairs) for axis in (0, 1))
    sheet = np.full((2 * height, len(pairs) * width, 3), 255, np.uint8)
    for column, pair in enumerate(pairs):
        for row, pixels in enumerate(pair):
            h, w = pixels.shape[:2]
            top, left = row * height, column * width
            sheet[top : top + h, left : left + w] = pixels
    return sheet


def grid_name(name: str, n: int) -> str:
    """Name the grid of a watched set at `n`: in order of n, whatever its digits."""
    return f"{name}-{n:012d}.png"


def grid_place(name: str) -> int:
    """Return the n of a grid's name; 0 for another file, which is nobody's to delete."""
    digits = name.removesuffix(".png").rpartition("-")[2]
    return int(digits) if digits.isdecimal() and digits.isascii() else 0


def _cut(path: Path, n: int) -> None:
    """Keep the rows of a file up to `n`, and no last one that a kill cut short."""
    if path.exists():
        steps = path.name in (SKIPPED, DROPPED)
        lines = path.read_text().splitlines(keepends=True)
        write_atomically(path, "".join(line for line in lines if _reached(line, n, steps=steps)))


def _reached(line: str, n: int, *, steps: bool) -> bool:
    """Say whether what a row tells of had happened when `n` samples were seen.

    A row about a step has the n before it, every other one, also a roll-back's, the n after it.
    """
    try:
        row = json.loads(line) if line.endswith("\n") else {}
        return row["n"] < n if steps and "left_out" not in row else row["n"] <= n
    except (ValueError, KeyError, TypeError):
        return False
