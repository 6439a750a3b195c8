"""Coding-independent code points (ITU-T H.273): colours told by numbers, as in a PNG's cICP.

What they say is written as the ICC profile of the same colours, so that it goes the way of all
profiles (shards/images/colour.py). High dynamic range is told apart: no table makes sRGB of that.
"""

import struct
from collections.abc import Sequence

import numpy as np

HDR = {16: "PQ", 18: "HLG"}
"""Transfer characteristics of high dynamic range."""

PRIMARIES = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
"""Chromaticities (x, y) of red, green and blue, H.273 table 2: BT.709, BT.2020, Display P3. All
have the white of D65."""

_BT709 = (1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)
TRANSFERS: dict[int, tuple[float, ...]] = {
    1: _BT709,
    4: (2.2,),
    5: (2.8,),
    6: _BT709,
    8: (1.0,),
    13: (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045),
    14: _BT709,
    15: _BT709,
}
"""From values to light, H.273 table 3, as the parameters of a parametric curve of ICC: of BT.709
and BT.2020, powers, linear, sRGB."""

D65 = (0.3127, 0.3290)
D50 = (0.9642, 1.0, 0.8249)
BRADFORD = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))
"""White points, and cone responses in which one white is adapted to the other (ICC.1, annex E)."""


def refused(points: bytes) -> str:
    """Say why pixels of these code points are not read, nothing where they are.

    There are four: primaries, transfer, matrix (0: RGB) and range (1: full). Any other number of
    bytes says nothing.
    """
    if len(points) != 4:
        return ""
    _, transfer, _, full = points
    if transfer in HDR:
        return f"high dynamic range ({HDR[transfer]})"
    return "" if full else "narrow range"


def profile_of(points: bytes) -> bytes | None:
    """Return the ICC profile of RGB that code points tell, b"" for sRGB.

    None where they tell of no colours of the tables above, and count as absent.
    """
    if len(points) != 4:
        return None
    primaries, transfer, matrix, _ = points
    if matrix or primaries not in PRIMARIES or transfer not in TRANSFERS:
        return None
    if (primaries, transfer) == (1, 13):
        return b""
    red, green, blue = _adapted(PRIMARIES[primaries])
    curve = _curve(TRANSFERS[transfer])
    tags = {
        b"wtpt": _xyz(D50),
        b"rXYZ": _xyz(red),
        b"gXYZ": _xyz(green),
        b"bXYZ": _xyz(blue),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    body, table = b"", struct.pack(">I", len(tags))
    for name, data in tags.items():
        start = 128 + 4 + 12 * len(tags) + len(body)
        table += struct.pack(">4sII", name, start, len(data))
        body += data.ljust(-(-len(data) // 4) * 4, b"\0")
    head = struct.pack(">8xI4s4s4s12x4s28x", 0x04200000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    head += struct.pack(">3i", *_fixed(D50))
    size = 128 + len(table) + len(body)
    return struct.pack(">I", size) + head.ljust(128, b"\0")[4:] + table + body


def _adapted(primaries: Sequence[tuple[float, float]]) -> list[list[float]]:
    """Return X, Y, Z of red, green and blue as they look under D50."""
    lit = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    x, y = D65
    white, cones = np.array([x / y, 1, (1 - x - y) / y]), np.array(BRADFORD)
    columns = lit * np.linalg.solve(lit, white)
    scale = np.diag(cones @ np.array(D50) / (cones @ white))
    return (np.linalg.inv(cones) @ scale @ cones @ columns).T.tolist()


def _fixed(values: Sequence[float]) -> list[int]:
    return [round(value * 65536) for value in values]


def _xyz(values: Sequence[float]) -> bytes:
    return struct.pack(">4s4x3i", b"XYZ ", *_fixed(values))


def _curve(parameters: Sequence[float]) -> bytes:
    kind = 3 if len(parameters) > 1 else 0
    return struct.pack(f">4s4xH2x{len(parameters)}i", b"para", kind, *_fixed(parameters))
