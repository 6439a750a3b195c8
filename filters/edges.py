"""How sharp are the edges of an image? Pure measures, at native resolution.

A shrunk copy of a blurred image is sharp, so nothing is shrunk. Only the tiles with the most
detail are measured, so that shallow focus and wide margins do not count against an image whose
subject is sharp, and each axis apart, since motion blurs only one.
"""

from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from shards import RGB

Gray = NDArray[np.uint8]
"""Luma of shape (h, w), uint8 in [0, 255]."""

TILE = 128
"""Side of a tile, px."""

TILES = 4
"""Number of richest tiles that are judged."""

MIN_SIDE = 32
"""Images with a shorter side below this many px are not measured."""


class EdgeMarks(NamedTuple):
    """What one tile says about edges: the three measures of `edge_marks`."""

    sharp_edges: float
    spectral_gap: float
    edge_slope: float


WEIGHTS = EdgeMarks(sharp_edges=5.77, spectral_gap=0.65, edge_slope=19.54)
BIAS = -19.19
"""Constants of `sharpness`: a logistic regression, classes weighted equally, on 85 crops of 17
CC0 photographs reduced to 0.4-0.6 and 79 crops of documents, all saved as JPEG q95.
benchmarks/sharpness.py repeats the fit on images that pip brings.

Sharp: as they are, noise of 6 grey levels, q85. Not sharp: gaussian of 0.8 to 8 px, enlarged 1.5
to 4 times, motion of 5 and 9 px, blur with noise, blur with q60. At 0.3, leaving one photograph
out: 98 % of the spoilt photographs are caught, 1.6 % of the sharp ones too. Least caught:
motion of 5 px 92 %, enlarged 1.5 times 95 %; on documents motion of 5 px only 46 %, all else
100 % and no false alarm. Photographs straight from a camera, at full size, are often softer
than this set: treat the threshold as a first calibration.
"""

GAP_RANGE = (-3.0, 3.0)
"""Decades beyond which a spectral gap says no more (a spectrum that is exactly zero)."""

MIN_EDGE_PIXELS = 200
"""Edge pixels below which a tile is no evidence: about one edge of 20 px (our choice)."""

ENOUGH_EDGES, ENOUGH_PIXELS = 10, 50
"""Edges and edge pixels along one axis from which that axis is judged (our choice)."""


def sharpness(marks: EdgeMarks) -> float:
    """Combine the marks of a tile to a sharpness in [0, 1]: the logistic of their weighted sum.

    Our choice of combination: a step of one pixel, a spectrum that follows its power law and
    edges that are steps at every scale fail in different cases (shallow focus, noise, texture).
    """
    total = BIAS + sum(weight * mark for weight, mark in zip(WEIGHTS, marks, strict=True))
    return float(1 / (1 + np.exp(-total)))


def edge_marks(tile: Gray) -> EdgeMarks | None:
    """Measure the edges of a tile, each mark along the worse axis; None without evidence."""
    slopes = edge_slopes(tile)
    if sum(axis.size for axis in slopes) < MIN_EDGE_PIXELS:
        return None
    counts = edge_types(tile)
    shares = [sharp / edges for edges, sharp in counts if edges >= ENOUGH_EDGES]
    pooled = counts[:, 1].sum() / max(1, counts[:, 0].sum())
    return EdgeMarks(
        sharp_edges=float(min(shares, default=pooled)),
        spectral_gap=float(np.clip(min(spectral_gaps(tile)), *GAP_RANGE)),
        edge_slope=min(float(np.percentile(a, 95)) for a in slopes if a.size >= ENOUGH_PIXELS),
    )


def gray(pixels: RGB) -> Gray:
    """Return the luma (BT.601) of (h, w, 3) uint8 sRGB."""
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY), np.uint8)


def richest_tiles(luma: Gray) -> list[Gray]:
    """Return the TILES tiles of TILE px with the most gradient energy; fewer if it has fewer.

    Energy (our choice): the sum over pixels of (|dx| + |dy|)², which prefers the subject in
    focus to a busy blurred background. An image smaller than a tile is one tile, below
    MIN_SIDE none.
    """
    if min(luma.shape) < MIN_SIDE:
        return []
    step = cv2.add(
        cv2.absdiff(luma[:-1, 1:], luma[:-1, :-1]), cv2.absdiff(luma[1:, :-1], luma[:-1, :-1])
    )
    energy = cv2.integral(np.square(step, dtype=np.float32))
    corners: list[tuple[float, int, int]] = []
    for y in _starts(luma.shape[0]):
        for x in _starts(luma.shape[1]):
            y1, x1 = min(y + TILE, luma.shape[0] - 1), min(x + TILE, luma.shape[1] - 1)
            inside = energy[y1, x1] - energy[y, x1] - energy[y1, x] + energy[y, x]
            corners.append((-float(inside), y, x))
    return [luma[y : y + TILE, x : x + TILE] for _, y, x in sorted(corners)[:TILES]]


def _starts(size: int) -> list[int]:
    return [int(x) for x in np.linspace(0, max(0, size - TILE), max(1, size // TILE))]


def edge_types(tile: Gray, threshold: float = 35.0) -> NDArray[np.int64]:
    """Count edges and sharp edges along each axis: ((x edges, x sharp), (y edges, y sharp)).

    Three levels of Haar differences, each the largest |difference| (grey levels) in a cell of
    16 px: E1, E2, E3. A cell holds an edge when any exceeds `threshold`, and a sharp one
    (Dirac or step) when E1 > E2 > E3; ramps and roofs have E1 < E2 (Tong et al. 2004,
    "Blur detection for digital images using wavelet transform", rules 1 and 2, their threshold
    35). Our choices: axes apart, and the share of sharp edges instead of their blur extent.
    """
    level = tile.astype(np.float32)
    rows, columns = (size // 16 for size in tile.shape)
    peaks: list[tuple[NDArray[np.float32], ...]] = []
    for cell in (8, 4, 2):
        height, width = (size // 2 * 2 for size in level.shape)
        a, b = level[:height:2, :width:2], level[:height:2, 1:width:2]
        c, d = level[1:height:2, :width:2], level[1:height:2, 1:width:2]
        level = (a + b + c + d) / 4
        details = [np.abs(a - b + c - d) / 2, np.abs(a + b - c - d) / 2]
        whole = (difference[: rows * cell, : columns * cell] for difference in details)
        peaks.append(tuple(part.reshape(rows, cell, columns, cell).max((1, 3)) for part in whole))
    first, second, third = (np.stack(level) for level in peaks)
    edge = np.maximum(np.maximum(first, second), third) > threshold
    sharp = edge & (first > second) & (second > third)
    return np.stack([edge.sum((1, 2)), sharp.sum((1, 2))], axis=1)


@cache
def _frequencies(height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the Hann window of a tile and the band of each coefficient of its rfft2.

    Bands are 1/64 cycle/px wide; those of mainly vertical frequencies follow after BANDS.
    """
    window = np.outer(np.hanning(height), np.hanning(width)).astype(np.float32)
    y = np.abs(np.fft.fftfreq(height))[:, None]
    x = np.fft.rfftfreq(width)[None]
    band = np.minimum((np.hypot(x, y) * 64).astype(np.int64), BANDS - 1)
    return window, (band + BANDS * (y > x)).ravel()


BANDS = 46


def spectral_gaps(tile: Gray) -> tuple[float, float]:
    """Measure how far high frequencies fall below the power law of the low ones, along x and y.

    The law log P = a log f + b is fitted on 0.03-0.16 cycle/px of the Hann-windowed power
    spectrum; the gap is the mean of log10 P minus the law over 0.31-0.47 cycle/px, in decades:
    about 0 for natural images, below -1 after enlarging or blur. It closes again for blur so
    strong that the low band is gone too, and under noise, hence only one of three (our choice,
    after the power law of natural images, Field 1987).
    """
    window, band = _frequencies(*tile.shape)
    spectrum = np.fft.rfft2((tile - tile.mean(dtype=np.float32)) * window)
    power = np.square(np.abs(spectrum)).ravel()
    size = 2 * BANDS
    mean = np.bincount(band, power, size) / np.maximum(np.bincount(band, minlength=size), 1)
    x = np.log10((np.arange(BANDS) + 0.5) / 64)
    gaps: list[float] = []
    for y in np.log10(mean + 1).reshape(2, BANDS):
        a, b = np.polyfit(x[2:10], y[2:10], 1)
        gaps.append(float(np.mean((y - a * x - b)[20:30])))
    return gaps[0], gaps[1]


def edge_slopes(
    tile: Gray, threshold: int = 30, width: int = 9
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the slope of each edge pixel along x and along y, in (0, 1].

    The slope is the largest step between neighbours within `width` px, divided by the range
    of grey levels there: 1 for a step, 1/n for a ramp over n px. Edge pixels are those where
    the range exceeds `threshold` grey levels. Our choice; no shrinking, no model of the edge.
    """
    kernel = np.ones((1, width), np.uint8)

    def along_rows(values: Gray) -> NDArray[np.float32]:
        step = np.zeros_like(values)
        step[:, 1:] = cv2.absdiff(values[:, 1:], values[:, :-1])
        reach = cv2.subtract(cv2.dilate(values, kernel), cv2.erode(values, kernel))
        at = reach > threshold
        return np.minimum(cv2.dilate(step, kernel)[at] / reach[at].astype(np.float32), 1)

    return along_rows(tile), along_rows(np.ascontiguousarray(tile.T))
