"""`python -m benchmarks FOLDER DOC…`: publish the rows of a folder's benchmarks.

Every row of FOLDER/NAME.json goes to `measured/NAME.md` beside the documents, and from there into
their slots, so that a page can be reshaped without measuring anything again. A document holds, on
lines of their own,

    <!-- rows NAME PATTERN -->          <!-- chart NAME PATTERN -->
    <!-- end -->                        ![what it shows](measured/NAME.png)
                                        <!-- end -->

and gets a table, or draws the picture, of the rows whose names match the pattern. What the group
`across` matches names a column, and the other groups a row; without `across` rows stay rows.
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

SLOT = re.compile(r"(<!-- (rows|chart) (\S+) (.*?) -->\n)(.*?)(<!-- end -->)", re.S)
FIGURE = re.compile(r"\| (.+?) \| (.+?) \| (.+?) \| (.*?) ?\|")
HEAD = ("| figure | value | unit | target |", "| --- | ---: | --- | ---: |")
PICTURE = re.compile(r"!\[.*?\]\((\S+?)\)", re.S)


class Figure(NamedTuple):
    """One published row; `value` and `target` as they are printed."""

    name: str
    value: str
    unit: str
    target: str


class Measured(NamedTuple):
    """What one benchmark has published, and on which machine and commit."""

    name: str
    figures: list[Figure]
    made_by: str

    def page(self) -> str:
        """Write it as Markdown, every row."""
        about = f"Every row of `python -m benchmarks.{self.name}`, in one run."
        rows = [_line(*figure) for figure in self.figures]
        return "\n".join([f"# {self.name}", "", about, "", *HEAD, *rows, "", self.made_by, ""])

    @classmethod
    def of(cls, name: str, record: Mapping[str, Any]) -> "Measured":
        """Take what a benchmark wrote with `--json`."""
        made_by = f"{record['machine']}, commit {record['commit']}."
        return cls(name, [_figure(row) for row in record["rows"]], made_by)

    @classmethod
    def read(cls, page: Path) -> "Measured":
        """Read a page back."""
        lines = page.read_text("utf-8").strip().splitlines()
        found = (FIGURE.fullmatch(line) for line in lines[lines.index(HEAD[1]) + 1 :])
        return cls(page.stem, [Figure(*match.groups()) for match in found if match], lines[-1])


class Table(NamedTuple):
    """Figures by row and column, in the order in which they first appear."""

    columns: list[str]
    rows: dict[str, dict[str, Figure]]

    @classmethod
    def of(cls, figures: Sequence[Figure], pattern: str) -> "Table":
        """Arrange the figures whose names match, by the groups of the pattern."""
        rows: dict[str, dict[str, Figure]] = {}
        columns: dict[str, None] = {}
        for figure in figures:
            match = re.search(pattern, figure.name)
            if match is None:
                continue
            across = match.groupdict().get("across")
            parts = [part for part in match.groups() if part]
            parts.remove(across) if across else None
            row = ", ".join(parts) or (figure.name if across is None else figure.unit)
            rows.setdefault(row, {})[across or ""] = figure
            columns[across or ""] = None
        return cls(list(columns), rows)

    def markdown(self) -> str:
        """Print it; a unit stands in the corner, the row, the column or the cell, if it can."""
        if self.columns == [""]:
            rows = [_line(name, *cells[""][1:]) for name, cells in self.rows.items()]
            return "\n".join([*HEAD, *rows]) + "\n"
        every = {figure.unit for cells in self.rows.values() for figure in cells.values()}
        corner = every.pop() if len(every) == 1 else ""
        by_row = {name: {f.unit for f in cells.values()} for name, cells in self.rows.items()}
        by_column = {
            column: {cells[column].unit for cells in self.rows.values() if column in cells}
            for column in self.columns
        }
        in_row = not corner and all(len(units) == 1 for units in by_row.values())
        in_column = not (corner or in_row) and all(len(one) == 1 for one in by_column.values())
        head = [_of(name, min(by_column[name])) if in_column else name for name in self.columns]
        lines = [_line(corner, *head), _line("---", *["---:"] * len(head))]
        for name, cells in self.rows.items():
            label = _of(name, min(by_row[name])) if in_row else name
            bare = bool(corner) or in_row or in_column
            lines.append(_line(label, *(_cell(cells.get(column), bare) for column in self.columns)))
        return "\n".join(lines) + "\n"

    def draw(self, path: Path) -> None:
        """Draw bars, a group for each column, a colour for each row; on a log scale if need be."""
        import matplotlib as mpl

        mpl.use("Agg")
        from matplotlib import pyplot

        figure, axes = pyplot.subplots(figsize=(8, 3.2), dpi=110, layout="constrained")
        width = 0.8 / len(self.rows)
        values: list[float] = []
        for number, (name, cells) in enumerate(self.rows.items()):
            places = [k for k, column in enumerate(self.columns) if column in cells]
            heights = [float(cells[self.columns[k]].value.replace(",", "")) for k in places]
            values += heights
            left = (number - (len(self.rows) - 1) / 2) * width
            bars = axes.bar([k + left for k in places], heights, 0.92 * width, label=name)
            labels = [f"{height:,.0f}" if height >= 100 else f"{height:.3g}" for height in heights]
            axes.bar_label(bars, labels=labels, fontsize=7, padding=1)
        if min(values) > 0 and max(values) > 30 * min(values):
            axes.set_yscale("log")
        axes.set_xticks(range(len(self.columns)), self.columns)
        axes.set_ylabel(next(iter(next(iter(self.rows.values())).values())).unit)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(y=0.12)
        axes.legend(frameon=False, fontsize=8)
        figure.savefig(path, metadata={"Software": None})
        pyplot.close(figure)


def publish(folder: Path, documents: Sequence[Path]) -> None:
    """Write the measured pages of the folder's benchmarks, then fill and draw every slot."""
    for place in {document.parent / "measured" for document in documents}:
        for record in sorted(folder.glob("*.json")):
            place.mkdir(exist_ok=True)
            measured = Measured.of(record.stem, json.loads(record.read_text()))
            (place / f"{record.stem}.md").write_text(measured.page(), "utf-8")
    for document in documents:
        text = document.read_text("utf-8")
        document.write_text(filled(text, document.parent), "utf-8")
        for _, kind, name, pattern, inside, _ in SLOT.findall(text):
            if kind == "chart" and (picture := PICTURE.search(inside)):
                measured = Measured.read(document.parent / "measured" / f"{name}.md")
                Table.of(measured.figures, pattern).draw(document.parent / picture[1])


def filled(text: str, folder: Path) -> str:
    """Fill the tables of a document in `folder`; what was never measured stays as it is."""

    def fill(slot: re.Match[str]) -> str:
        page = folder / "measured" / f"{slot[3]}.md"
        if slot[2] == "chart" or not page.exists():
            return slot[0]
        measured = Measured.read(page)
        table = Table.of(measured.figures, slot[4])
        if not table.rows:
            return slot[0]
        link = f"[Every row](measured/{page.name})."
        return f"{slot[1]}{table.markdown()}\n{measured.made_by} {link}\n{slot[6]}"

    return SLOT.sub(fill, text)


def _figure(row: Mapping[str, Any]) -> Figure:
    sign = "≥" if row["better"] == "higher" else "≤"
    target = "" if row["target"] is None else f"{sign} {row['target']:g}"
    value = row["value"]
    if value is None:
        return Figure(row["name"], "n/a", row["unit"], target)
    decimals = 0 if isinstance(value, int) or value >= 100 else 2
    return Figure(row["name"], f"{value:,.{decimals}f}", row["unit"], target)


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _of(name: str, unit: str) -> str:
    return name if name == unit else f"{name}, {unit}"


def _cell(figure: Figure | None, bare: bool) -> str:
    if figure is None:
        return "–"
    return figure.value if bare else f"{figure.value} {figure.unit}"


if __name__ == "__main__":
    publish(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
