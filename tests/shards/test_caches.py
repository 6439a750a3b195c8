"""Where a user has no cache folder, a private temporary one takes its place, and is said."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shards import UserError
from shards.caches import CACHE, have_cache, private_folder

NOWHERE = "/dev/null/home"


@pytest.fixture
def temporary(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name in (CACHE, "MPLCONFIGDIR", "USER"):
        monkeypatch.setenv(name, "")  # so that what is set meanwhile is undone
        monkeypatch.delenv(name)
    return tmp_path


@pytest.mark.parametrize("home", [NOWHERE, None])
def test_a_private_folder_replaces_a_cache_that_is_not_there(temporary, monkeypatch, caplog, home):
    if home:
        monkeypatch.setenv("HOME", home)
    else:
        monkeypatch.setattr(Path, "expanduser", lambda path: raises(RuntimeError))
    monkeypatch.setattr("pwd.getpwuid", lambda uid: raises(KeyError))
    have_cache()
    have_cache()
    folder = temporary / f"nonpareil-{os.getuid()}"
    assert Path(os.environ[CACHE]) == folder
    assert os.environ["USER"] == str(os.getuid())
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len(caplog.messages) == 1
    assert f"kept in {folder}; set {CACHE}" in caplog.text


def raises(error):
    raise error


def test_a_cache_that_is_there_stays(temporary, monkeypatch):
    monkeypatch.setenv("HOME", str(temporary / "home"))
    have_cache()
    assert CACHE not in os.environ
    assert list(temporary.iterdir()) == []


def test_a_folder_of_somebody_else_is_never_used(temporary, monkeypatch):
    folder = private_folder()
    folder.chmod(0o777)
    assert private_folder().stat().st_mode & 0o777 == 0o700
    folder.rename(temporary / "other")
    folder.symlink_to(temporary / "other")
    with pytest.raises(UserError, match="not a folder of this user"):
        private_folder()
    folder.unlink()
    folder.write_text("")
    with pytest.raises(UserError, match="set TMPDIR to a folder of your own"):
        private_folder()
    owner = os.getuid()
    (temporary / f"nonpareil-{owner + 1}").mkdir()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    with pytest.raises(UserError, match="not a folder of this user"):
        private_folder()


def test_loops_compile_without_a_home(tmp_path):
    """As where the package belongs to root: numba then looks at the user's cache alone."""
    code = "import json; from render.compiled import inner; inner(json.JSONDecoder.decode)"
    environment = {
        "HOME": NOWHERE,
        "TMPDIR": str(tmp_path),
        "NUMBA_CACHE_LOCATOR_CLASSES": "UserWideCacheLocator",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PATH": os.environ["PATH"],
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert str(tmp_path) in done.stderr
