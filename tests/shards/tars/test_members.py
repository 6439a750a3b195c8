"""The one scanner of tars: whatever is damaged or odd, the other members come, and it is named."""

import gzip
import tarfile

import numpy as np
import pytest

from shards.skipped import Skip
from shards.tars import members as scanner
from shards.tars.headers import CUT, LONG, MAX_HEADER
from shards.tars.members import Member, members
from tests.tar_files import Bytes, header, member, packed

THREE = packed(*(member(f"{i}.png", bytes([65 + i]) * 700) for i in range(3)))
SECOND = 3 * 512
"""Where the second header of THREE begins; the members take three blocks each."""

NAMES = ["0.png", "1.png", "2.png"]
LAST = member("last.png", b"end")
SPARSE = header(b"s.png", b"S", _482=b"\1") + bytes(504) + b"\1" + bytes(7 + 1024)
JUNK = bytes(range(1, 250)) * 9


def scan(data):
    """Return the names and bytes of the members, and the reasons of what was left out."""
    given, skips = {}, []
    for entry in members(Bytes(data)):
        if isinstance(entry, Member):
            given[entry.archive, entry.name] = data[entry.offset : entry.offset + entry.size]
        else:
            skips.append(f"{entry.name}: {entry.reason}")
    return given, skips


def flipped(data, place):
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def pax(records):
    return header(b"x", b"x", b"%011o\0" % len(records)) + records + bytes(-len(records) % 512)


@pytest.mark.parametrize(
    ("data", "names", "skips"),
    [
        (THREE, NAMES, []),
        (flipped(THREE, SECOND + 5), ["0.png", "2.png"], ["byte 1,536: broken header"]),
        (flipped(THREE, 5), ["1.png", "2.png"], ["byte 0: broken header"]),
        (THREE[:SECOND], ["0.png"], ["byte 1,536: cut short"]),
        (THREE[: SECOND + 9], ["0.png"], ["byte 1,536: cut short"]),
        (THREE[: SECOND + 600], ["0.png"], ["byte 1,536: cut short"]),
        (THREE[:SECOND] + bytes(512) + THREE[SECOND:], NAMES, []),
        (THREE[:SECOND] + JUNK + THREE[-512:], ["0.png"], ["byte 1,536: broken header"]),
        (THREE + JUNK, NAMES, [f"byte {len(THREE):,}: broken header"]),
        (JUNK, [], ["byte 0: broken header"]),
        (b"", [], ["byte 0: cut short"]),
        (gzip.compress(np.random.default_rng(0).bytes(9999)), [], [": compressed tar"]),
        (THREE[:SECOND] + SPARSE + THREE[SECOND:], NAMES, ["s.png: sparse file"]),
        # Lengths that lie: 8 EB, negative, junk; the members behind come all the same.
        *(
            (THREE[:SECOND] + header(size=size) + THREE[SECOND:], NAMES, [f"byte 1,536: {reason}"])
            for size, reason in {
                b"\x80" + bytes(3) + (2**63).to_bytes(8, "big"): "cut short",
                b"77777777777\0": "cut short",
                b"\xff" * 12: "broken header",
                b"-0000000001\0": "broken header",
                b"0x1        \0": "broken header",
            }.items()
        ),
        *(
            (THREE[:SECOND] + pax(records) + THREE[SECOND:], NAMES[::2], [f"{name}: {reason}"])
            for records, name, reason in (
                (b"9 size=x\n", "1.png", "broken header"),
                (b"99 path=x\n", "1.png", "broken header"),
                (b"nonsense", "1.png", "broken header"),
                (b"22 GNU.sparse.major=1\n", "1.png", "sparse file"),
                (b"2000 path=%b\n" % (b"x" * 1989), f"{'x' * 80}…", LONG),
            )
        ),
        # An extended header too long to be read is passed over, its member keeps the short name.
        (
            THREE[:SECOND] + header(kind=b"x", size=b"77777777\0   ") + THREE[SECOND:],
            NAMES,
            ["byte 1,536: header longer than 1,048,576 bytes"],
        ),
        (b"".join([header(kind=b"x", size=bytes(12))] * 5000) + THREE, NAMES, []),
    ],
)
def test_what_is_damaged_is_named_and_costs_no_other_member(data, names, skips):
    given, said = scan(data)
    assert [name for _, name in given] == names
    assert said == skips
    assert [data[:1] for data in given.values()] == [b"ABC"[int(name[0]) :][:1] for name in names]


def test_tars_joined_to_one_are_all_read():
    given, skips = scan(THREE + THREE[:SECOND] + bytes(1024))
    assert [*given] == [(0, "0.png"), (0, "1.png"), (0, "2.png"), (1, "0.png")]
    assert not skips


@pytest.mark.parametrize("layout", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_names_are_text_whatever_they_are_made_of(layout):
    names = ["x\\a.png", "x\x1b[2J\n.png", "日" * 30 + "/" + "b" * 60 + ".png", "./c.png", "x/"]
    given, skips = scan(packed(*(member(name, b"1") for name in names), layout=layout))
    assert [name for _, name in given] == names
    assert not skips
    assert [*scan(header(b"\xd5\xd5\xc6\xac.png") + bytes(1536))[0]] == [(0, r"\xd5\xd5Ƭ.png")]


def test_links_are_what_they_lead_to():
    def link(name, target, kind=tarfile.SYMTYPE):
        return member(name, kind=kind, linkname=target)

    given, skips = scan(
        packed(
            member("d/a.png", b"picture"),
            link("hard.png", "d/a.png", tarfile.LNKTYPE),
            link("e/up.png", "../d/./a.png"),
            link("first.png", "last.png"),
            link("chain.png", "e/up.png"),
            link("circle.png", "circle.png"),
            link("out.png", "/etc/passwd"),
            link("folder", "d"),
            member("last.png", b"end"),
        )
        + packed(link("a.png", "d/a.png"))
    )
    pictures = ["d/a.png", "hard.png", "e/up.png", "chain.png"]
    ends = ["first.png", "last.png"]
    assert given == {(0, name): b"picture" for name in pictures} | {
        (0, name): b"end" for name in ends
    }
    assert skips == [
        f"{name}: link without target" for name in ("circle.png", "out.png", "folder", "a.png")
    ]


def test_what_is_no_file_and_what_leads_out_is_left_out():
    odd = {"pipe": tarfile.FIFOTYPE, "tape": tarfile.CHRTYPE, "../a.png": b"0", "/b.png": b"0"}
    given, skips = scan(packed(*(member(name, kind=kind) for name, kind in odd.items()), LAST))
    assert given == {(0, "last.png"): b"end"}
    assert skips == [
        "pipe: pipe, socket or device",
        "tape: pipe, socket or device",
        "../a.png: name that leads out of the tar",
        "/b.png: name that leads out of the tar",
    ]


def test_more_members_than_we_read_are_left_out(monkeypatch):
    monkeypatch.setattr(scanner, "MAX_MEMBERS", 2)
    assert scan(THREE)[1] == ["2.png: more members than we read"]


@pytest.mark.parametrize(
    "data",
    [
        JUNK * 2000,
        bytes(2**22),
        header(size=b"77777777777\0") * 8000,
        (header() + JUNK[:512]) * 4000,
        header(kind=b"S", size=b"77777777777\0", _482=b"\1", _504=b"\1") * 8000,
        (header(kind=b"x", size=b"00000001000\0") + b"9 path=a\n" * 57) * 4000,
    ],
)
def test_a_tar_is_read_once_and_in_pieces(data):
    file = Bytes(data)
    for _ in members(file):
        pass
    assert file.read_in_all < 3 * len(data)
    assert file.longest <= MAX_HEADER


def test_what_it_cannot_read_of_a_stream_it_says():
    class Stream(Bytes):
        def __init__(self, data):
            super().__init__(data)
            self.size = 2**63 - 1

    assert list(members(Stream(THREE[:600])))[-1] == Skip("byte 1,536", CUT)
