"""Streams behind a server on the loopback, with real tars that others made."""

import io
import logging
import tarfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice

import numpy as np
import pytest

from shards import Sample, ShardError, UnreadableImage, UserError, encode
from tests.tar_files import header, member, packed
from vae import Stage, fit
from vae.curriculum.curriculum import Curriculum
from vae.data.batches import Batches, open_streams, sizes_of
from vae.data.loader import load
from vae.data.tars import Forward, unpacked
from vae.data.unindexed import Unindexed, is_unindexed, open_stream


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def web(tmp_path):
    """A folder and the URL under which a server of this machine shows it."""
    folder = tmp_path / "web"
    folder.mkdir()

    def handler(*arguments):
        return Quiet(*arguments, directory=str(folder))

    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def write_tar(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))


def image(seed, side=20, ending="jpg"):
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    return encode(pixels, ending)


def write_tars(folder, tars=4, each=4):
    """As img2dataset names them: a caption and other things beside each picture."""
    for tar in range(tars):
        members = []
        for k in range(each):
            key = f"{tar:05d}{k:04d}"
            members += [(f"{key}.jpeg", image([tar, k])), (f"{key}.txt", b"a cat")]
            members += [(f"{key}.json", b'{"similarity": 0.3}')]
        write_tar(folder / f"{tar:04d}.tar", members)
    return {f"{tar:05d}{k:04d}" for tar in range(tars) for k in range(each)}


def batches_of(url, samples=32, batch=2, resolution=16, **more):
    stage = Stage(
        name="a", samples=samples, batch=batch, micro=2, resolution=resolution, shares={"w": 1}
    )
    readers = open_streams({"w": url}, [stage])
    return Batches(readers, Curriculum([stage], sizes_of(readers), 3), **more)


def places(batches, start=0):
    knobs = map(batches.curriculum.at, batches.curriculum.starts(start))
    return [(at.n, m) for at in knobs for m in range(at.micro_batches)]


def drawn(batches, start=0, loaders=0):
    loaded = load(batches.beginning(start), places(batches, start), loaders=loaders)
    return [key.removeprefix("w/") for batch in loaded for key in batch.keys]


@pytest.mark.parametrize("loaders", [0, 2])
def test_every_sample_once_an_epoch_and_a_resumed_run_skips_what_was_drawn(web, loaders):
    folder, url = web
    keys = write_tars(folder)
    batches = batches_of(f"{url}/{{0000..0003}}.tar")
    whole = drawn(batches, 0, loaders)
    first, second = whole[:16], whole[16:]
    assert sorted(first) == sorted(second) == sorted(keys)
    assert first != second
    assert first != sorted(first)
    assert drawn(batches, 8, loaders) == whole[8:]


def test_ranks_and_loaders_read_tars_of_their_own(web):
    folder, url = web
    keys = write_tars(folder, tars=5)
    stream = Unindexed(f"{url}/{{0000..0004}}.tar")
    parts = [stream.read(part, 4, seed=1) for part in range(4)]
    # Five tars in four parts: one of them has two.
    held = [{sample.key[:5] for sample in islice(part, 8)} for part in parts]
    first = [next(stream.read(part, 4, seed=1)).key for part in range(4)]
    assert len(set.union(*held)) == 5
    assert len({key[:5] for key in first}) == 4
    assert {s.key for s in islice(stream.read(0, 1, seed=1), 20)} == keys
    with pytest.raises(UserError, match=r"stream w: 6 processes .* cannot share 5 tars"):
        stream.check_parts("w", 6)


def test_captions_are_no_text_and_pictures_come_as_stored(web):
    folder, url = web
    write_tars(folder, tars=1, each=1)
    (sample,) = unpacked(f"{url}/0000.tar")
    assert (sample.key, sample.format, sample.text) == ("000000000", "jpg", "a cat")
    assert sample.image == image([0, 0])
    batch = batches_of(f"{url}/0000.tar", em=True, resized=("w",))[0, 0]
    assert not batch.em.any()
    assert batch.keys == ("w/000000000",) * 2


def test_images_that_are_too_small_are_passed_over_and_counted(web):
    folder, url = web
    sides = [10, 40, 10, 40, 30]
    write_tar(
        folder / "a.tar", [(f"{k}.png", image(k, side, "png")) for k, side in enumerate(sides)]
    )
    batches = batches_of(f"{url}/a.tar", samples=6, resolution=32)
    loaded = list(load(batches, places(batches)))
    assert {key for batch in loaded for key in batch.keys} == {"w/1", "w/3"}
    assert not any(batch.replaced for batch in loaded)
    assert sum(batch.too_small for batch in loaded) in (6, 7, 8, 9)


def test_what_breaks_is_named_and_the_rest_is_read(web):
    folder, url = web
    write_tars(folder, tars=3)
    cut = (folder / "0001.tar").read_bytes()
    (folder / "0001.tar").write_bytes(cut[: len(cut) // 2])
    write_tar(folder / "0002.tar", [("x.jpg", b"no image"), ("y.cls", b"7"), ("z.jpg", image(0))])
    batches = batches_of(f"{url}/{{0000..0003}}.tar", samples=16)
    loaded = [batches[at] for at in places(batches)]
    gone = {sample.key: sample.reason for batch in loaded for sample in batch.replaced}
    assert gone == {
        "0001.tar": "cut short",
        "0003.tar": "the command that fetches it ended with 22",
        "x": "not a readable PNG, JPEG, WebP, TIFF, BMP, GIF, AVIF file",
        "y": "no image among ['cls']",
    }
    kept = {key for batch in loaded for key in batch.keys}
    assert {"w/z", "w/000000003"} < kept
    assert any(key.startswith("w/00001") for key in kept)


def test_nothing_to_read_at_all_is_one_line_without_secrets(web):
    _, url = web
    batches = batches_of(f"{url}/{{0..3}}.tar?token=secret")
    with pytest.raises(ShardError, match=r"/{0..3}.tar: no sample in any of its tars") as error:
        next(load(batches, [(0, 0)], loaders=1))
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_commands_of_the_user_are_read_and_their_failures_named(tmp_path):
    write_tars(tmp_path, tars=2, each=2)
    stream = Unindexed(f"pipe:cat {tmp_path}/{{0000..0001}}.tar::pipe:exit 7")
    assert len(stream.tars) == 3
    taken = list(islice(stream.read(0, 1, seed=0), 5))
    (broken,) = (other for other in taken if isinstance(other, UnreadableImage))
    assert broken.reason == "the command that fetches it ended with 7"
    assert len({s.key for s in taken if isinstance(s, Sample)}) == 4


def test_a_sample_that_is_too_large_is_passed_over_unread(web, monkeypatch):
    monkeypatch.setattr("vae.data.tars.MAX_BYTES", 5000)
    folder, url = web
    small, large = image(0), bytes(6000)
    parts = [("a.jpg", small), ("b.jpg", large), ("c.jpg", small), ("c.json", large)]
    parts += [("d.jpg", small), ("d.raw", large), ("e.jpg", small), ("e.jpeg", small)]
    write_tar(folder / "a.tar", [*parts, ("f.jpg", small)])
    taken = list(unpacked(f"{url}/a.tar"))
    assert [sample.key for sample in taken if isinstance(sample, Sample)] == ["a", "d", "f"]
    assert [str(bad) for bad in taken if isinstance(bad, UnreadableImage)] == [
        "b: 6,000 bytes exceed 5,000",
        f"c: {6000 + len(small):,} bytes exceed 5,000",
        "e: file that its sample has already: jpg",
    ]


def test_damage_links_and_joined_tars_cost_a_stream_no_other_sample(web):
    folder, url = web
    parts = [member(f"{i}.jpg", image(i, side=60)) for i in range(4)]
    whole, first = packed(*parts), packed(parts[0])
    second = whole.index(b"1.jpg")
    huge = header(b"x", b"x", b"\x80" + bytes(7) + b"\xff" * 4)
    sparse = header(b"s.jpg", b"S") + bytes(1024)
    link = packed(member("l.jpg", kind=tarfile.SYMTYPE, linkname="0.jpg"))[:512]
    data = whole[: second + 1] + b"?" + whole[second + 2 :]
    (folder / "a.tar").write_bytes(sparse + huge + link + data + first)
    taken = list(unpacked(f"{url}/a.tar"))
    assert [it.key for it in taken if isinstance(it, Sample)] == ["0", "2", "3", "0"]
    assert [str(it) for it in taken if isinstance(it, UnreadableImage)] == [
        "a.tar/s.jpg: sparse file",
        "a.tar/byte 1,536: header longer than 1,048,576 bytes",
        "a.tar/l.jpg: link, which a stream cannot follow",
        f"a.tar/byte {2560 + second:,}: broken header",
    ]


def test_a_stream_is_read_in_pieces_and_never_back():
    stream = Forward(io.BytesIO(bytes(range(100)) * 9000))
    assert stream.read(3, 2) == b"\3\4"
    assert stream.read(4, 300_000) == (bytes(range(100)) * 3001)[4:300_004]
    assert stream.read(800_001, 2) == b"\1\2"
    assert stream.read(899_999, 9) == b"c"
    assert stream.read(2**60, 9) == b""
    with pytest.raises(ValueError, match="does not go back"):
        stream.read(0, 1)


def test_large_samples_are_shuffled_among_fewer(web, monkeypatch):
    folder, url = web
    keys = write_tars(folder, tars=1, each=16)

    def read():
        stream = Unindexed(f"{url}/0000.tar")
        return [sample.key for sample in islice(stream.read(0, 1, seed=1), 16)]

    free = read()
    monkeypatch.setattr("vae.data.unindexed.BUFFER_BYTES", 0)
    assert sorted(free) == sorted(read()) == sorted(keys)
    assert free != read() == sorted(keys)


def test_addresses_of_one_stream_are_joined_and_never_mixed_with_shards(tmp_path):
    both = open_stream(("https://h/{0..1}.tar", "pipe:cat x.tar"))
    assert both.tars == ["https://h/0.tar", "https://h/1.tar", "pipe:cat x.tar"]
    with pytest.raises(UserError, match="give it a name of its own"):
        open_stream(("https://h/0.tar", tmp_path))


def test_which_places_have_no_index(tmp_path):
    assert all(map(is_unindexed, ("https://h/{0..9}.tar", "hf://datasets/a/b/c.tar", "pipe:cat x")))
    assert not any(map(is_unindexed, ("runs/pages", "s3://b/p", "file:///x", tmp_path)))
    assert Unindexed("http://[::1]:80/{1..3}.tar").tars[2] == "http://[::1]:80/3.tar"
    assert open_stream("http://h/a.tar").fingerprint == open_stream("http://h/a.tar").fingerprint
    assert open_stream("http://h/a.tar").fingerprint != open_stream("http://h/b.tar").fingerprint
    with pytest.raises(UserError, match="braces do not match"):
        open_stream("http://h/{0..9.tar")


def test_a_run_on_such_a_stream_says_how_it_resumes(web, settings, tmp_path, caplog):
    folder, url = web
    write_tars(folder)
    stage = {
        "name": "a",
        "samples": 8,
        "batch": 4,
        "micro": 2,
        "resolution": 16,
        "shares": {"w": 1},
    }
    settings = settings.model_copy(update={"stages": (Stage(**stage),), "skip_start": 0})
    with caplog.at_level(logging.WARNING):
        fit(settings, {"w": f"{url}/{{0000..0003}}.tar"}, tmp_path / "out")
    (said,) = (record.message for record in caplog.records if "stream w" in record.message)
    assert "by skipping" in said
    assert "\n" not in said
