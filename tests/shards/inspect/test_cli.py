"""The inspection commands, as a person runs them."""

import json
import subprocess
import sys

import numpy as np
import pytest

from shards import ShardWriter, decode
from shards.inspect.cli import app
from tests.command import run_module
from tests.conftest import make_sample, picture

VERBS = [command.name or command.callback.__name__ for command in app.registered_commands]


def shards(*arguments, code=0, cwd="."):
    return run_module("shards", *arguments, code=code, cwd=cwd)


def rows(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


def flip_a_bit(folder):
    tar = folder / "part-000001.tar"
    data = bytearray(tar.read_bytes())
    data[700] ^= 1
    tar.write_bytes(data)


@pytest.fixture
def other_folder(tmp_path):
    """The same samples as `shard_folder`, but for one text, one pixel, one field and one shard."""
    folder = tmp_path / "other"
    folder.mkdir()
    with ShardWriter(folder, 0, recipe="s" * 64, versions={"pillow": "12"}) as writer:
        writer.write(make_sample(0))
        for i, changed in ((1, {"text": "other"}), (2, {"pixel": True}), (3, {"language": "zh"})):
            writer.write(altered(i, **changed))
    return folder


def altered(i, *, text=None, pixel=False, **meta):
    from shards import Sample, encode_png

    sample = make_sample(i)
    pixels = picture(i)
    pixels[0, 0, 0] ^= 8 * pixel
    fields = sample.meta | meta
    return Sample(sample.key, encode_png(pixels), "png", text=text or sample.text, meta=fields)


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_an_example(verb):
    said = shards(verb, "--help").stdout
    assert f"Example: nonpareil shards {verb} " in said
    assert "--json" in said


def test_help_says_what_exit_codes_mean():
    assert "Exit codes: 0 done; 1 verify or diff found something" in shards("--help").stdout


def test_ls_counts(shard_folder):
    first = rows(shards("ls", shard_folder, "--json"))[0]
    assert first["samples"] == 3
    assert first["dropped"] == {"blurry": 1}
    assert len(first["sha256"]) == 64
    said = shards("ls", shard_folder).stdout
    assert said.splitlines()[0].split()[:3] == ["shard", "samples", "bytes"]
    assert said.splitlines()[-1].startswith("2 shards, 6 samples, ")


def test_ls_keys(shard_folder):
    found = rows(shards("ls", shard_folder, "--keys", "--json"))
    assert [row["key"] for row in found] == [f"{i:09d}" for i in range(6)]
    assert found[0] | {"bytes": 0} == {
        "key": "000000000",
        "shard": 0,
        "width": 60,
        "height": 40,
        "bytes": 0,
        "language": "en",
        "characters": 5,
        "size_px": "",
        "scores": {},
    }


def test_stats_are_drawn_and_are_json(shard_folder):
    said = shards("stats", shard_folder).stdout
    assert said.startswith("2 shards, 6 samples, ")
    assert "blurry   2  ██" in said
    assert "width / height: 1.5 in all 6" in said
    (counted,) = rows(shards("stats", shard_folder, "--json"))
    assert counted["dropped"] == {"blurry": 2}
    assert counted["text_length"]["bins"] == [[i, i, 1] for i in range(5, 11)]


def test_show_writes_the_picture(shard_folder, tmp_path):
    out = tmp_path / "x.png"
    shown = shards("show", shard_folder, "000000004", "--out", out, "--json")
    assert rows(shown)[0]["text"] == "页 4"
    assert (decode(out.read_bytes(), "x") == picture(4)).all()
    shards("show", shard_folder, "000000005", "--out", out)
    assert (decode(out.read_bytes(), "x") == picture(5)).all()


def test_show_enlarges_pixels_and_leaves_boxes_thin(tmp_path):
    plain = make_sample(0)
    plain.meta["lines"] = [{"box": [10, 10, 30, 20]}]
    with ShardWriter(tmp_path, 0, recipe="r" * 64) as writer:
        writer.write(plain)
    out = tmp_path / "x.png"
    shards("show", tmp_path, plain.key, "--out", out, "--zoom", 3)
    large = picture(0).repeat(3, axis=0).repeat(3, axis=1)
    assert np.array_equal(decode(out.read_bytes(), "x"), large)
    shards("show", tmp_path, plain.key, "--out", out, "--zoom", 3, "--boxes")
    boxed = decode(out.read_bytes(), "x")
    differs = np.argwhere((boxed != large).any(2))
    assert [differs.min(0).tolist(), differs.max(0).tolist()] == [[30, 30], [59, 89]]
    assert np.array_equal(boxed[31:59, 31:89], large[31:59, 31:89])


def test_show_replaces_nothing_that_was_not_named(shard_folder, tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    shards("show", shard_folder, "000000004", cwd=here)
    shards("show", shard_folder, "000000004", "--out", here)
    (here / "000000004.png").write_bytes(b"mine")
    for where in ([], ["--out", here]):
        done = shards("show", shard_folder, "000000004", *where, cwd=here, code=2)
        assert "is there already" in done.stderr
    assert (here / "000000004.png").read_bytes() == b"mine"


def test_sheet_shows_pictures_and_is_the_same_for_a_seed(shard_folder, tmp_path):
    sheets = [tmp_path / f"{i}.png" for i in range(3)]
    for out, seed in zip(sheets, (["--seed", 1], ["--seed", 1], []), strict=True):
        (made,) = rows(shards("sheet", shard_folder, "--out", out, *seed, "--count", 4, "--json"))
        assert (made["pictures"], made["samples"]) == (4, 6)
    one, two, even = (decode(path.read_bytes(), path.name) for path in sheets)
    assert np.array_equal(one, two)
    assert any(np.array_equal(even[64:104, 8:68], picture(i)) for i in range(6))


def test_extract_writes_samples_as_they_are_stored(shard_folder, tmp_path):
    out = tmp_path / "out"
    asked = ("extract", shard_folder, "000000001", "000000004", "--out", out, "--json")
    (done,) = rows(shards(*asked))
    assert (done["samples"], done["files"], done["more"]) == (2, 6, False)
    assert sorted(path.name for path in out.iterdir())[:3] == [
        f"000000001.{ending}" for ending in ("json", "png", "txt")
    ]
    tar = (shard_folder / "part-000001.tar").read_bytes()
    assert (out / "000000004.json").read_bytes() in tar
    assert (out / "000000004.txt").read_text() == "页 4"
    shards(*asked)


def test_extract_is_bounded_and_may_take_one_shard(shard_folder, tmp_path):
    out = tmp_path / "out"
    said = shards("extract", shard_folder, "--shard", 1, "--limit", 2, "--out", out).stdout
    assert "2 samples" in said
    assert "raise --limit 2" in said
    assert {path.stem for path in out.iterdir()} == {"000000003", "000000004"}


def test_folders_without_samples_are_no_success(shard_folder, tmp_path):
    """Neither one without shards nor one from which everything was dropped."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "dropped").mkdir()
    with ShardWriter(tmp_path / "dropped", 0, recipe="r") as writer:
        writer.drop("a.png", "blurry")
    dropped = "dropped holds no sample: 1 shards, 0 samples, 0.0 MB, 1 dropped (blurry 1)"
    for folder, why in (("empty", "holds no finished shard"), ("dropped", dropped)):
        for verb in (["extract", "--out", tmp_path / "out"], ["sheet"]):
            done = shards(verb[0], tmp_path / folder, *verb[1:], code=2)
            assert why in done.stderr
    for pair in ("empty", shard_folder), (shard_folder, "empty"):
        done = shards("diff", *(tmp_path / name for name in pair), code=2)
        assert "empty holds no finished shard" in done.stderr
    assert not (tmp_path / "out").exists()
    page = tmp_path / "page.html"
    said = shards("report", tmp_path / "dropped", "--out", page).stdout
    assert "0 samples, 0 of 1 dropped images" in said


def test_extract_replaces_nothing_and_follows_no_link(shard_folder, tmp_path):
    out, target = tmp_path / "out", tmp_path / "target"
    out.mkdir()
    (out / "000000000.png").symlink_to(target)
    done = shards("extract", shard_folder, "--out", out, code=2)
    assert "is there already" in done.stderr
    assert not target.exists()


def test_extract_leaves_no_part_of_a_file_on_a_full_disk(shard_folder, tmp_path, monkeypatch):
    def full(self, mode):
        self.touch()
        return open("/dev/full", "wb")  # noqa: PTH123 - write_new closes it

    monkeypatch.setattr("pathlib.Path.open", full)
    done = shards("extract", shard_folder, "--out", tmp_path / "out", code=2)
    assert "the disk is full" in done.stderr
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("key", ["../../escape", "/tmp/escape", "a/b", "a.b", "a\x1b[2J"])
def test_hostile_keys_are_refused_before_anything_is_written(shard_folder, tmp_path, key):
    note = shard_folder / "part-000000.json"
    held = json.loads(note.read_text())
    held["entries"][0]["key"] = key
    note.write_text(json.dumps(held))
    for verb in (["extract", "--out", tmp_path / "out"], ["show", key]):
        done = shards(verb[0], shard_folder, *verb[1:], code=2)
        assert "is not a sidecar" in done.stderr
        assert "\x1b" not in done.stderr
    assert not list(tmp_path.rglob("*escape*"))


def test_names_cannot_steer_the_terminal(shard_folder):
    note = shard_folder / "part-000000.json"
    held = json.loads(note.read_text())
    held["entries"][0]["key"] = "[red]\x9b2J\u202e"
    note.write_text(json.dumps(held))
    said = shards("ls", shard_folder, "--keys").stdout
    assert r"[red]\x9b2J\u202e" in said


def test_verify_is_silent_about_good_shards(shard_folder):
    assert rows(shards("verify", shard_folder, "--json")) == []
    assert "every shard is what its sidecar says" in shards("verify", shard_folder, "--deep").stdout


def test_verify_says_what_is_wrong_and_repair_mends_it(shard_folder):
    flip_a_bit(shard_folder)
    (fault,) = rows(shards("verify", shard_folder, "--json", code=1))
    assert (fault["shard"], fault["kind"]) == (1, "sha256")
    said = shards("verify", shard_folder, code=1).stdout
    assert f"shards 1: nonpareil shards repair {shard_folder}, then the command" in said
    (planned,) = rows(shards("repair", shard_folder, "--dry-run", "--json"))
    assert planned["done"] == "would remove"
    done = shards("repair", shard_folder).stdout
    assert "part-000001.json  removed  sha256 differs" in done
    assert "shards 1: give the command that made them again" in done
    assert not (shard_folder / "part-000001.json").exists()
    assert (shard_folder / "part-000001.tar").exists()
    assert "unfinished" in shards("verify", shard_folder, code=1).stdout


def test_diff_of_equal_folders(shard_folder):
    assert "hold the same samples" in shards("diff", shard_folder, shard_folder).stdout
    assert shards("diff", shard_folder, shard_folder, "--json").stdout == ""


def test_diff_names_what_differs(shard_folder, other_folder):
    found = rows(shards("diff", shard_folder, other_folder, "--json", code=1))
    assert [(row["key"], row["what"], row["how"]) for row in found] == [
        ("", "shard", f"only in {shard_folder}"),
        ("", "recipe", "rrrrrrrrrrrr → ssssssssssss"),
        ("", "version", "pillow none → 12"),
        ("", "dropped", "1 → 0, or others"),
        ("000000001", "text", "'页 1' → 'other'"),
        ("000000002", "picture", "0.0% of the pixels, by up to 8 of 255"),
        ("000000003", "sample", "only in the second"),
    ]
    with_meta = rows(shards("diff", other_folder, other_folder.parent / "shards", "--json", code=1))
    assert {row["key"] for row in with_meta} == {"", "000000001", "000000002", "000000003"}


def test_diff_names_metadata(tmp_path):
    for name, sample in (("a", make_sample(0)), ("b", altered(0, language="zh"))):
        (tmp_path / name).mkdir()
        with ShardWriter(tmp_path / name, 0, recipe="r") as writer:
            writer.write(sample)
    (row,) = rows(shards("diff", tmp_path / "a", tmp_path / "b", "--json", code=1))
    assert (row["what"], row["how"]) == ("json", "language en → zh")


def test_the_module_is_the_command(shard_folder):
    done = subprocess.run(
        [sys.executable, "-m", "shards", "ls", shard_folder, "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(rows(done)) == 2


def test_a_reader_that_stops_early_is_no_fault(shard_folder):
    command = f"{sys.executable} -m shards ls {shard_folder} --keys | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_mistakes_are_one_line(shard_folder, tmp_path):
    mistakes = (
        ["ls", tmp_path / "no"],
        ["ls", tmp_path],
        ["show", shard_folder, "k"],
        ["extract", shard_folder, "--shard", 7, "--out", tmp_path / "x"],
        ["extract", shard_folder, "--out", shard_folder / "part-000000.tar" / "x"],
        ["sheet", shard_folder, "--out", shard_folder / "part-000000.tar" / "x.png"],
        ["verify", tmp_path],
        ["diff", shard_folder, tmp_path / "no"],
    )
    for arguments in mistakes:
        done = shards(*arguments, code=2)
        assert done.stderr.count("\n") == 1
