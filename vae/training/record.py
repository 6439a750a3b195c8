"""What a training run writes down: metrics.jsonl, skipped.jsonl, TensorBoard, grids of samples."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TextIO

import numpy as np
import torch
from torch import Tensor
from torch.utils.tensorboard.writer import SummaryWriter

from shards import RGB, encode_png
from vae.model import VAE
from vae.pixels import to_pixels


class Record:
    """What is written of one run, continued from `start` steps."""

    def __init__(self, out: Path, start: int) -> None:
        self.out = out
        (out / "samples").mkdir(exist_ok=True)
        self._metrics = _continued(out / "metrics.jsonl", start)
        self._skipped = _continued(out / "skipped.jsonl", start)
        self._board = SummaryWriter(str(out), purge_step=start + 1 if start else None)

    def write(self, row: Mapping[str, Any]) -> None:
        """Append one record."""
        _append(self._metrics, row)
        for name, value in row.items():
            if name == "shares":
                for stream, share in value.items():
                    self._board.add_scalar(f"shares/{stream}", share, row["step"])
            elif isinstance(value, float):
                self._board.add_scalar(name, value, row["step"])

    def skipped(self, line: Mapping[str, Any]) -> None:
        """Append a step that was not taken, or a roll-back, to skipped.jsonl."""
        _append(self._skipped, line)

    def picture(self, step: int, pixels: RGB) -> None:
        """Keep a grid (h, w, 3) uint8."""
        (self.out / "samples" / f"step-{step:06d}.png").write_bytes(encode_png(pixels))
        self._board.add_image("samples", pixels, step, dataformats="HWC")

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files."""
        self._metrics.close()
        self._skipped.close()
        self._board.close()


def grid(images: Tensor, model: VAE) -> RGB:
    """Lay (b, 3, h, w) in [-1, 1] above their reconstructions: (2 h, b w, 3) uint8."""
    with torch.no_grad():
        rows = to_pixels(torch.stack([images, model(images)]))
    return np.concatenate([np.concatenate([*row], 1) for row in rows])


def _continued(path: Path, start: int) -> TextIO:
    """Open a file of lines to append to, without those after `start` steps.

    Such lines belong to steps that are about to be taken again.
    """
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    path.write_text("".join(line for line in lines if _step_of(line) <= start))
    return path.open("a")


def _append(file: TextIO, line: Mapping[str, Any]) -> None:
    file.write(json.dumps(line) + "\n")
    file.flush()


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        # The last line of a killed run may be cut short.
        return float("inf")
