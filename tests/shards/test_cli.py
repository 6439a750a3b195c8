"""The inspection commands, as a person runs them."""

import json
import subprocess
import sys

import pytest

from tests.conftest import picture


def shards(*arguments, code=0):
    command = [sys.executable, "-m", "shards", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def rows(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_ls_counts(shard_folder):
    first = rows(shards("ls", shard_folder, "--json"))[0]
    assert first["samples"] == 3
    assert first["dropped"] == "blurry 1"
    assert "6 samples" in shards("ls", shard_folder).stdout


def test_ls_keys(shard_folder):
    assert len(rows(shards("ls", shard_folder, "--keys", "--json"))) == 6


def test_show_writes_the_picture(shard_folder, tmp_path):
    out = tmp_path / "x.png"
    shown = shards("show", shard_folder, "000000004", "--out", out, "--json")
    assert rows(shown)[0]["text"] == "页 4"
    from shards import decode

    assert (decode(out.read_bytes(), "x") == picture(4)).all()


def test_verify_is_silent_about_good_shards(shard_folder):
    assert rows(shards("verify", shard_folder, "--json")) == []


def flip_a_bit(folder):
    tar = folder / "part-000001.tar"
    data = bytearray(tar.read_bytes())
    data[700] ^= 1
    tar.write_bytes(data)


def duplicate(folder):
    note = json.loads((folder / "part-000000.json").read_text())
    (folder / "part-000002.tar").write_bytes((folder / "part-000000.tar").read_bytes())
    note |= {"tar": "part-000002.tar", "shard": 2}
    (folder / "part-000002.json").write_text(json.dumps(note))


def other_recipe(folder):
    note = (folder / "part-000001.json").read_text()
    (folder / "part-000001.json").write_text(note.replace("r" * 64, "s" * 64))


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (flip_a_bit, "sha256 differs"),
        (lambda f: (f / "part-000001.tar").write_bytes(b"x"), "1 bytes instead of"),
        (lambda f: (f / "part-000001.tar").unlink(), "missing tar"),
        (lambda f: (f / "part-000000.json").unlink(), "unfinished"),
        (lambda f: (f / "part-000000.json").write_text("x"), "broken sidecar"),
        (duplicate, "key 000000000 also in part-000000.tar"),
        (other_recipe, "another recipe"),
    ],
)
def test_verify_finds_each_fault(shard_folder, damage, fault):
    damage(shard_folder)
    found = rows(shards("verify", shard_folder, "--json", code=1))
    assert any(fault in row["fault"] for row in found)


def test_mistakes_are_one_line(shard_folder, tmp_path):
    for arguments in (["ls", tmp_path / "no"], ["show", shard_folder, "k"], ["ls", tmp_path]):
        done = shards(*arguments, code=2)
        assert done.stderr.count("\n") == 1
