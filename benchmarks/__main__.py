"""`python -m benchmarks FOLDER`: print the rows of all benchmarks in a folder as Markdown."""

import json
import sys
from pathlib import Path


def main(folder: Path) -> None:
    """Print one table for each JSON file that a benchmark has written into `folder`."""
    print("# Benchmarks\n\nMade by `make bench`; one run, best of its rounds.")
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text())
        print(f"\n## {path.stem}\n\n{record['machine']}, commit {record['commit']}.\n")
        print("| figure | value | unit | target | better |\n| --- | ---: | --- | ---: | --- |")
        for row in record["rows"]:
            target = "" if row["target"] is None else f"{row['target']:g}"
            value = f"{row['value']:,.{0 if row['value'] >= 100 else 2}f}"
            cells = (row["name"], value, row["unit"], target, row["better"])
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
