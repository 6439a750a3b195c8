"""`python -m benchmarks FOLDER DOC…`: put the rows of a folder's benchmarks into Markdown files.

A document holds `<!-- rows NAME PATTERN -->` and `<!-- end -->` on lines of their own; what is
between them becomes a table of the rows of NAME.json whose names match the pattern.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

SLOT = re.compile(r"(<!-- rows (\S+) (.*?) -->\n).*?(<!-- end -->)", re.S)


def main(folder: Path, documents: list[Path]) -> None:
    """Fill every slot of the documents; one whose benchmark was not run stays as it is."""
    for document in documents:
        text = document.read_text("utf-8")
        document.write_text(SLOT.sub(lambda slot: _filled(folder, slot), text), "utf-8")


def _filled(folder: Path, slot: re.Match[str]) -> str:
    path = folder / f"{slot[2]}.json"
    if not path.exists():
        return slot[0]
    record = json.loads(path.read_text())
    rows = [row for row in record["rows"] if re.search(slot[3], row["name"])]
    return f"{slot[1]}{_table(rows)}\n{record['machine']}, commit {record['commit']}.\n{slot[4]}"


def _table(rows: list[dict[str, Any]]) -> str:
    lines = ["| figure | value | unit | target |", "| --- | ---: | --- | ---: |"]
    for row in rows:
        sign = "≥" if row["better"] == "higher" else "≤"
        target = "" if row["target"] is None else f"{sign} {row['target']:g}"
        value = f"{row['value']:,.{0 if row['value'] >= 100 else 2}f}"
        lines.append(f"| {row['name']} | {value} | {row['unit']} | {target} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
