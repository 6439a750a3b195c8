"""Commands, run in the process of the tests: starting Python takes longer than most of them."""

import contextlib
import io
import logging
import runpy
import threading
import warnings
from types import SimpleNamespace

import pytest

COLUMNS = 80
"""How wide the terminal is in which help is read."""


def run_module(module, *arguments, code=0, cwd="."):
    """Do what `python -m module ARGUMENTS` does; return what it wrote to stdout and stderr.

    Unlike there, a warning of Python is an error, and so is a failure that no command expects.
    """
    told, complained = io.StringIO(), io.StringIO()
    log = logging.StreamHandler(complained)
    log.setLevel(logging.WARNING)  # as where nobody set up logging
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(told),
        contextlib.redirect_stderr(complained),
    ):
        patch.setenv("COLUMNS", str(COLUMNS))
        patch.setattr("sys.argv", [module, *map(str, arguments)])
        patch.setattr(threading, "excepthook", threading.excepthook)  # a command has its own
        patch.setattr(logging.getLogger(), "handlers", [*logging.getLogger().handlers, log])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".* found in sys.modules after import of package")
            with pytest.raises(SystemExit) as stop:
                runpy.run_module(module, run_name="__main__", alter_sys=True)
    done = SimpleNamespace(stdout=told.getvalue(), stderr=complained.getvalue())
    assert (stop.value.code or 0) == code, done.stdout + done.stderr
    return done


def nonpareil(*arguments, code=0):
    return run_module("pipelines.cli", *arguments, code=code)


def mistake(*arguments):
    """Run what cannot work and return its one line."""
    done = nonpareil(*arguments, code=2)
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr
