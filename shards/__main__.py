"""`python -m shards`: the inspection commands, for clusters that have no console scripts."""

from shards.cli import app
from shards.console import run

if __name__ == "__main__":
    run(app)
