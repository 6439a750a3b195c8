"""The warp: how the flat page, on which everything is placed, turns and tilts into the picture."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Warp:
    """A homography (row-major, 9 numbers, the last 1) from the flat page to the picture."""

    numbers: tuple[float, ...]

    @classmethod
    def about(cls, centre: tuple[float, float], angle: float, tilt: tuple[float, float]) -> "Warp":
        """Turn by `angle` (radians) and tilt about `centre`; `tilt` is the change of scale a px."""
        x, y = centre
        cosine, sine = np.cos(angle), np.sin(angle)
        away = np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])
        tilted = np.array([[1, 0, 0], [0, 1, 0], [tilt[0], tilt[1], 1.0]])
        turned = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1.0]])
        home = np.array([[1, 0, -x], [0, 1, -y], [0, 0, 1.0]])
        whole = away @ tilted @ turned @ home
        return cls(tuple((whole / whole[2, 2]).ravel().tolist()))

    def points(
        self, xs: NDArray[np.float64], ys: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Map points of the flat page to the picture."""
        a, b, c, d, e, f, g, h, _ = self.numbers
        scale = 1 / (g * xs + h * ys + 1)
        return (a * xs + b * ys + c) * scale, (d * xs + e * ys + f) * scale

    def slopes(self, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the Jacobian (n, 2, 2) at points of the flat page: what a small glyph sees."""
        a, b, _, d, e, _, g, h, _ = self.numbers
        to_x, to_y = self.points(xs, ys)
        scale = 1 / (g * xs + h * ys + 1)
        rows = [
            [(a - to_x * g) * scale, (b - to_x * h) * scale],
            [(d - to_y * g) * scale, (e - to_y * h) * scale],
        ]
        return np.moveaxis(np.array(rows), 2, 0)

    def inset(self, width: int, height: int, margin: int) -> int:
        """Return how far inside the flat page a box must lie to land inside the picture, px."""
        for inset in range(margin, min(width, height) // 2):
            lefts, tops = (
                np.array([inset, width - inset] * 2),
                np.repeat([inset, height - inset], 2),
            )
            xs, ys = self.points(lefts.astype(float), tops.astype(float))
            inside = margin <= min(xs.min(), ys.min())
            if inside and xs.max() <= width - margin and ys.max() <= height - margin:
                return inset
        return min(width, height) // 2
