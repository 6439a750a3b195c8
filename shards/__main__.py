"""`python -m shards`: the inspection commands, for clusters that have no console scripts."""

from shards.console import run
from shards.inspect.cli import app

if __name__ == "__main__":
    run(app)
