"""Files of other people's making, spoilt at random: each gives what it holds or a reason.

A kind of file is a row of KINDS: whole files of our own making, what reads them, and the one class
of errors that may come of it. Mutant n of a kind is always the same, so a failure can be repeated:
`fuzz("png", [1234])`; for a long campaign, give many numbers.
"""

import io
import json
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import NamedTuple

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.ttLib import TTCollection, TTFont
from fontTools.ttLib.tables.TupleVariation import TupleVariation
from PIL import Image, ImageDraw

from filters import Chain, Clarity, Compression, Resolution
from pipelines.engine.jobs import RenderJob
from pipelines.recipe import FOLDER as RECIPES
from pipelines.recipe import load
from render import Fonts
from render.text.breaks import Text
from render.text.corpus import Corpus
from render.text.scripts import ASCII
from render.type.atlas import Atlas
from render.type.setting import Compositor, Style
from shards import Sample, ShardError, Unreadable, UnreadableImage, UserError, decode, encode_png
from shards.foreign import files_of, samples_of
from shards.images.colour import conversion
from shards.images.decoding import open_bounded, oriented_size
from shards.index import Index
from shards.outputs import claim
from shards.skipped import Skip
from shards.tars.members import Member, members
from tests.conftest import picture
from tests.profiles import CURVE, P3, SRGB, coloured, grey, inks, power
from tests.render.pages import font_file, package
from tests.tar_files import Bytes, header, member, packed
from tests.tar_files import with_checksums as with_header_checksums
from vae.data.tars import Forward, read_stream

MUTANTS = 100
"""Mutants of each kind that are tried here: a second or so of one core."""

LIMIT = 10.0
"""Seconds of CPU time that one mutant may take: far more than any needs, far less than for ever."""

LARGE = 2**22
"""Pixels above which an image is not decoded here: that would take a second."""

EDGES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
"""Numbers at which counts, lengths and offsets go wrong."""


class Kind(NamedTuple):
    """What is spoilt: whole files, their reader and its errors, and what restores checksums."""

    wholes: Callable[[], list[bytes]]
    read: Callable[[bytes], None]
    errors: type[UserError]
    mend: Callable[[bytes], bytes] | None = None


def fuzz(name: str, numbers: Iterable[int]) -> None:
    """Read mutants of a kind; what they raise beside its errors names the mutant."""
    kind = KINDS[name]
    for number in numbers:
        data = mutant(name, number)
        start = process_time()
        try:
            with suppress(kind.errors):
                kind.read(data)
            assert process_time() - start < LIMIT
        except BaseException as error:
            error.add_note(f'fuzz("{name}", [{number}])')
            raise


def mutant(name: str, number: int) -> bytes:
    """Spoil one of the whole files of a kind in one to four ways, half of them in their head."""
    kind, rng = KINDS[name], np.random.default_rng([number, *name.encode()])
    wholes = all_wholes(name)
    data = bytearray(wholes[number % len(wholes)])
    for _ in range(rng.integers(1, 5)):
        reach = len(data) if rng.random() < 0.5 else min(len(data), 200)
        at = int(rng.integers(reach + 1))
        end = min(len(data), at + int(rng.geometric(0.02)))
        match rng.integers(8):
            case 0:
                data[at:end] = rng.bytes(end - at)
            case 1:
                for place in rng.integers(0, len(data), 8) if data else ():
                    data[place] ^= 1 << int(rng.integers(8))
            case 2:
                del data[at:end]
            case 3:
                data[at:at] = data[at:end]
            case 4:
                del data[max(at, len(data) // 8) :]
            case 5:
                other = wholes[rng.integers(len(wholes))]
                data[at:end] = other[at:end]
            case _:
                code = str(rng.choice(["B", ">H", "<H", ">I", "<I"]))
                room = struct.calcsize(code)
                if at + room <= len(data):
                    struct.pack_into(code, data, at, int(rng.choice(EDGES)) % 256**room)
    spoilt = bytes(data)
    return kind.mend(spoilt) if kind.mend and rng.random() < 0.7 else spoilt


@cache
def all_wholes(name: str) -> list[bytes]:
    return KINDS[name].wholes()


# Images.


def images(form: str, *choices: dict[str, object], modes: str = "RGB") -> list[bytes]:
    """Save small pictures, some with an alpha channel, a palette or EXIF, in a format of Pillow."""
    page = Image.fromarray(picture(0, 48, 64))
    ImageDraw.Draw(page).ellipse((8, 4, 60, 40), "white")
    saved: list[bytes] = []
    for mode in modes.split():
        for options in choices or ({},):
            buffer = io.BytesIO()
            second = {"append_images": [page.rotate(180)]} if "save_all" in options else {}
            page.convert(mode).save(buffer, form, **options, **second)
            saved.append(buffer.getvalue())
    return saved


def exif() -> bytes:
    tags = Image.Exif()
    tags[0x0112], tags[0x010F], tags[0x011A] = 6, "camera", 72.0
    return tags.tobytes()


def read_image(data: bytes) -> None:
    size = oriented_size(open_bounded(data, "x"))
    if size[0] * size[1] > LARGE:
        return
    pixels = decode(data, "x")
    assert pixels.dtype == np.uint8
    assert pixels.shape == (*size[::-1], 3)
    CHEAP.judge(pixels)


CHEAP = Chain([Resolution(minimum=1), Compression(maximum=99), Clarity()])


def with_checksums(png: bytes) -> bytes:
    """Correct the CRC-32 of every chunk, so that what was spoilt in it is looked at."""
    return png[:8] + b"".join(
        png[at : at + 8 + size] + struct.pack(">I", zlib.crc32(png[at + 4 : at + 8 + size]))
        for at, size in chunks(png)
    )


def chunks(png: bytes) -> Iterator[tuple[int, int]]:
    """Yield where each chunk of a PNG begins, and how many bytes it holds."""
    at = 8
    while at + 8 <= len(png):
        size = int.from_bytes(png[at : at + 4], "big")
        yield at, size
        at += size + 12


# Tars, and the JSON inside.


def tars() -> list[bytes]:
    """Pack samples, links, a sparse file and long names, in every layout, without much padding."""
    image = encode_png(picture(0, 4, 4))
    members = [
        member("a/0.png", image),
        member("a/0.json", b'{"x": 1}'),
        member("1.jpg", kind=tarfile.LNKTYPE, linkname="a/0.png"),
        member("日本/" * 40 + "2.png", image, pax_headers={"comment": "x" * 100}),
        member("d/", kind=tarfile.DIRTYPE),
        member("d/3.png", kind=tarfile.SYMTYPE, linkname="../1.jpg"),
        member("4.png", image),
    ]
    layouts = (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)
    wholes = [packed(*members, layout=layout).rstrip(b"\0") + bytes(1536) for layout in layouts]
    sparse = header(b"s.png", b"S", _482=b"\1") + bytes(504) + b"\1" + bytes(7 + 1024)
    joined = packed(*members[3:5])[:-9000] + sparse + packed(*members[:3])[:-9000]
    return [*wholes, joined[: len(joined) // 512 * 512]]


def read_tar(data: bytes) -> None:
    """Scan it as a file and as a stream; both give members within it, or reasons."""
    file = Bytes(data)
    for entry in members(file):
        entry.name.encode()
        if isinstance(entry, Member):
            assert 0 < entry.offset <= entry.offset + entry.size <= len(data)
    assert file.read_in_all <= 8 * len(data) + 2**20
    skips: list[Skip] = []
    index = Index()
    index.add_tar(
        "a.tar", len(data), samples_of(files_of(members(file), skips.append), skips.append)
    )
    for i in range(len(index)):
        assert index.place(i).length <= len(data)
    for taken in read_stream("a.tar", Forward(io.BytesIO(data))):
        if isinstance(taken, Sample):
            with suppress(ShardError):
                json.dumps(taken.meta, allow_nan=False)


def read_json(data: bytes) -> None:
    json.dumps(Sample("k", b"", "png", meta=data).meta, allow_nan=False).encode()


JSON = (
    b'{"a": [1, -2.5e3, NaN, -Infinity, null], "b": {"c": "\\ud83d\\ude00 \xc3\xa9"}, "a": ""}',
    b'\xef\xbb\xbf{"n": 123456789012345678901234567890, "e": 1e308, "deep": [[[[[[{}]]]]]]}',
    '{"x": "日"}'.encode("utf-16"),
    b'{"deep": ' + b"[" * 250 + b"]" * 250 + b"}",
)

# Fonts.


def font_files() -> list[bytes]:
    """Return fonts with hints, with an axis, packed, and two in a collection."""
    hinted = (package("fontpkg_arvo") / "files" / "Arvo-Regular.ttf").read_bytes()
    with TemporaryDirectory() as folder:
        place = Path(folder)
        font_file(place / "plain.ttf", ASCII | {0x4E00, 0xFF08})
        plain, packed_font, collection = TTFont(place / "plain.ttf"), io.BytesIO(), TTCollection()
        varied = io.BytesIO()
        with_an_axis(TTFont(place / "plain.ttf")).save(varied)
        plain.flavor = "woff"
        plain.save(packed_font)
        collection.fonts = [TTFont(place / "plain.ttf"), TTFont(io.BytesIO(hinted))]
        collection.save(place / "both.ttc")
        wholes = [(place / name).read_bytes() for name in ("plain.ttf", "both.ttc")]
    return [hinted, *wholes, packed_font.getvalue(), varied.getvalue()]


def with_an_axis(font: TTFont) -> TTFont:
    """Make a font variable: its letter `x` moves with the weight."""
    builder = FontBuilder(font=font)
    builder.setupFvar([("wght", 300, 400, 700, "Weight")], [])
    moved = TupleVariation({"wght": (0, 1, 1)}, [(40, 0)] * 7)
    builder.setupGvar({name: [moved] if name == "u00078" else [] for name in font.getGlyphOrder()})
    return font


def read_font(data: bytes) -> None:
    """Take what can be used of a font and set a line in every design of it."""
    with TemporaryDirectory() as folder:
        (Path(folder) / "x.ttf").write_bytes(data)
        fonts = Fonts.folder(Path(folder))
        assert fonts.faces or fonts.skipped
        for font in fonts.instances(["en"]):
            for vertical in (False, True):
                style = Style("en", (font,), 12, 1.4, vertical=vertical)
                compositor = Compositor(fonts, Atlas(), "full", subpixel=True)
                compositor.compose(style, Text.of("Quick, brown: 12.5 % （一）"), 200, 200, 9)


# Text.


def read_recipe(data: bytes) -> None:
    with TemporaryDirectory() as folder:
        (Path(folder) / "x.toml").write_bytes(data)
        load(RenderJob, str(Path(folder) / "x.toml"))


def read_note(data: bytes) -> None:
    with TemporaryDirectory() as folder:
        (Path(folder) / "recipe.json").write_bytes(data)
        claim(Path(folder), {"kind": "RenderJob", "recipe": {"seed": 1}, "inputs": {}})


def read_corpus(data: bytes) -> None:
    with TemporaryDirectory() as folder:
        (Path(folder) / "x.md").write_bytes(data)
        corpus = Corpus.at(Path(folder), range(0x20, 0x10000), ["en", "zh", "mixed"])
        for language in corpus.sources:
            corpus.draw(np.random.default_rng(0), language, 200)


PROSE = """# A heading\n\nSome *plain* [prose](a.html), `code` and [brackets] (more).
> It is quoted. “So!” he said…\n\n\u3000\u3000今天天气很好，\n是吗？“好。”（是）\n- é ŵ שלום
"""


def profiles() -> list[bytes]:
    return [coloured(P3, CURVE), coloured(SRGB, power(1.8)), grey(1.8), inks()]


def read_profile(data: bytes) -> None:
    for mode in ("L", "RGB", "CMYK"):
        convert = conversion(mode, data)
        if convert:
            assert convert(Image.new(mode, (9, 5))).size == (9, 5)


FRAMES = {"save_all": True}
"""Two pictures in one file."""

KINDS = {
    "png": Kind(
        lambda: images("PNG", {}, {"exif": exif(), **FRAMES}, modes="1 L LA P RGB RGBA I;16"),
        *(read_image, UnreadableImage, with_checksums),
    ),
    "jpeg": Kind(
        lambda: images("JPEG", {"exif": exif()}, {"progressive": True}, modes="L RGB CMYK"),
        *(read_image, UnreadableImage),
    ),
    "mpo": Kind(lambda: images("MPO", FRAMES), read_image, UnreadableImage),
    "webp": Kind(
        lambda: images("WEBP", {"exif": exif(), **FRAMES}, {"lossless": True}, modes="RGB RGBA"),
        *(read_image, UnreadableImage),
    ),
    "tiff": Kind(
        lambda: images(
            "TIFF",
            *({}, {"exif": exif(), "big_tiff": True}, {"compression": "tiff_lzw", **FRAMES}),
            *({"compression": "jpeg"}, {"compression": "tiff_adobe_deflate"}),
            modes="L RGB CMYK",
        ),
        *(read_image, UnreadableImage),
    ),
    "gif": Kind(
        lambda: images("GIF", {"interlace": 1}, {"transparency": 3, **FRAMES}, modes="L P"),
        *(read_image, UnreadableImage),
    ),
    "bmp": Kind(lambda: images("BMP", modes="1 L P RGB RGBA"), read_image, UnreadableImage),
    "profile": Kind(profiles, read_profile, UnreadableImage),
    "avif": Kind(
        lambda: images("AVIF", {"exif": exif()}, modes="L RGB RGBA") + images("AVIF", FRAMES),
        *(read_image, UnreadableImage),
    ),
    "tar": Kind(tars, read_tar, UnreadableImage, with_header_checksums),
    "json": Kind(lambda: [*JSON], read_json, ShardError),
    "font": Kind(font_files, read_font, Unreadable),
    "recipe": Kind(
        lambda: [path.read_bytes() for path in sorted(RECIPES.glob("render*.toml"))],
        *(read_recipe, UserError),
    ),
    "note": Kind(
        lambda: [b'{"kind": "RenderJob", "recipe": {"seed": 1}, "inputs": {"a": [1, null]}}'],
        *(read_note, UserError),
    ),
    "corpus": Kind(
        lambda: [PROSE.encode(), PROSE.encode("utf-16")],
        *(read_corpus, UserError),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.timeout(120)
def test_whatever_is_spoilt_gives_what_it_holds_or_a_reason(kind):
    for whole in all_wholes(kind):
        KINDS[kind].read(whole)
    fuzz(kind, range(MUTANTS))
