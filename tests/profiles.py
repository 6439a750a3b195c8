"""ICC profiles of our own making: coloured, grey, and of inks."""

import struct

SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
"""XYZ of red, green and blue under D50, as the profiles of these spaces have them."""

CURVE = b"para" + struct.pack(">IHH5i", 0, 3, 0, 157286, 62119, 3416, 5072, 2651)
"""The curve of sRGB: power 2.4 above 0.04045, a line below."""


def power(gamma: float) -> bytes:
    return b"curv" + struct.pack(">IIH", 0, 1, round(256 * gamma))


def profile(space: bytes, tags: dict[bytes, bytes], connection: bytes = b"XYZ ") -> bytes:
    """An ICC profile of version 4: a header of 128 bytes, a table of tags, and what they hold."""
    head = struct.pack(">I4sI4s4s4s12x4s", 0, b"", 0x04000000, b"mntr", space, connection, b"acsp")
    head += struct.pack(">28xiii", *(round(65536 * x) for x in (0.9642, 1, 0.8249)))
    head = head.ljust(128, b"\0")
    table, held, at = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, tag in tags.items():
        padded = tag + bytes(-len(tag) % 4)
        table += name + struct.pack(">II", at + len(held), len(tag))
        held += padded
    whole = head + table + held
    return struct.pack(">I", len(whole)) + whole[4:]


def coloured(primaries: tuple[tuple[float, ...], ...], curve: bytes) -> bytes:
    tags = {b"%cTRC" % c: curve for c in b"rgb"} | {
        b"%cXYZ" % c: b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(65536 * x) for x in xyz))
        for c, xyz in zip(b"rgb", primaries, strict=True)
    }
    return profile(b"RGB ", tags)


def grey(gamma: float) -> bytes:
    return profile(
        b"GRAY",
        {b"kTRC": power(gamma), b"wtpt": b"XYZ " + struct.pack(">4i", 0, 63190, 65536, 54061)},
    )


def inks() -> bytes:
    """CMYK in which each of four inks takes a quarter of the lightness; a table of 2^4."""
    corners = (255 - 255 * sum(map(int, f"{i:04b}")) // 4 for i in range(16))
    table = b"".join(bytes((lightness, 128, 128)) for lightness in corners)
    even = bytes(range(256))
    unit = struct.pack(">9i", *(65536 * x for x in (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    tag = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + unit + 4 * even + table + 3 * even
    return profile(b"CMYK", {b"A2B0": tag}, connection=b"Lab ")
