"""`python -m benchmarks.nano.report`: the tables and curves of docs/nano.md, from the records."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shards.console import run_command

RESULTS, PAGE = Path("docs/nano"), Path("docs/nano.md")
CURVES = RESULTS / "curves.png"

SLOT = re.compile(r"(<!-- nano (\w+) -->\n).*?(<!-- end -->)", re.S)

SETS = {
    "plain": "plain pages",
    "pages": "pages on held-out photographs",
    "photographs": "held-out photographs",
    "documents": "documents",
}

COLOURS = {"nano": "#0072b2", "tiny": "#d55e00", "dct": "#777777"}

Record = dict[str, Any]


def write() -> None:
    """Put the tables into the page, and draw the curves beside the records."""
    records = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    tables = {"ended": _ended(records), "course": _course(records), "state": _state(records)}
    draw(records)
    page = PAGE.read_text("utf-8")
    PAGE.write_text(SLOT.sub(lambda slot: f"{slot[1]}{tables[slot[2]]}\n{slot[3]}", page), "utf-8")


def _ended(records: Sequence[Record]) -> str:
    """What each model and the DCT codec score at the end."""
    lines = [
        "| data | codec | images | PSNR | SSIM | NED |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for data, title in SETS.items():
        seen: set[str] = set()
        for record in records:
            for row in record["ended"]:
                codec = "DCT" if row["codec"].startswith("DCT") else record["preset"]
                if row["data"] != data or codec in seen:
                    continue
                seen.add(codec)
                ned = f"{row['ned']:.3f}" if row.get("read") else "–"
                scores = f"{row['psnr']:.2f} | {row['ssim']:.3f} | {ned}"
                lines.append(f"| {title} | {codec} | {row['images']} | {scores} |")
    return "\n".join(lines)


def _course(records: Sequence[Record]) -> str:
    """PSNR of each model at every watch, and what the DCT codec has on the same images."""
    names = [name for name in SETS if name in records[0]["watched"][0]["sets"]]
    lines = [
        f"| model | samples | {' | '.join(names)} |",
        f"| --- | ---: |{' ---: |' * len(names)}",
    ]
    for record in records:
        for row in record["watched"]:
            cells = [_cell(row["sets"][name]["model"]) for name in names]
            lines.append(f"| {record['preset']} | {row['n']:,} | {' | '.join(cells)} |")
    dct = [_cell(records[0]["watched"][0]["sets"][name]["dct"]) for name in names]
    return "\n".join([*lines, f"| DCT | | {' | '.join(dct)} |"])


def _cell(scores: dict[str, float]) -> str:
    return f"{scores['psnr']:.2f}" + (f" / {scores['ned']:.3f}" if "ned" in scores else "")


def _state(records: Sequence[Record]) -> str:
    return "\n".join(
        f"- {record['preset']}: {record['watched'][-1]['n']:,} samples; {record['machine']}, "
        f"commit {record['commit']}."
        for record in records
    )


def draw(records: Sequence[Record]) -> None:
    """Draw PSNR and NED over the samples seen, a column for each set."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    names = [name for name in SETS if name in records[0]["watched"][0]["sets"]]
    figure = Figure(figsize=(3.1 * len(names), 5), layout="constrained")
    grid: Any = figure.subplots(2, len(names), sharex=True, squeeze=False)
    for column, name in zip(grid.T, names, strict=True):
        column[0].set_title(SETS[name], fontsize=10)
        column[1].set_xlabel("samples seen")
        for axes, metric in zip(column, ("psnr", "ned"), strict=True):
            axes.spines[["top", "right"]].set_visible(False)
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
            level = records[0]["watched"][0]["sets"][name]["dct"].get(metric)
            if level is None:
                axes.set_axis_off()
                column[0].tick_params(labelbottom=True)
                column[0].set_xlabel("samples seen")
                continue
            axes.axhline(level, color=COLOURS["dct"], linestyle="--", label="DCT codec")
            for record in records:
                at, values = zip(
                    *((row["n"], row["sets"][name]["model"][metric]) for row in record["watched"]),
                    strict=True,
                )
                preset = record["preset"]
                axes.plot(at, values, ".-", color=COLOURS[preset], label=preset)
    grid[0, 0].set_ylabel("PSNR, dB")
    grid[1, 0].set_ylabel("NED")
    grid[0, 0].legend(frameon=False)
    figure.savefig(CURVES, dpi=110)


if __name__ == "__main__":
    run_command(write)
