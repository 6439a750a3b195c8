"""`python -m benchmarks.ablation.report`: what the finished runs say, as tables and curves.

A seed counts when every arm of a model has finished it, so that arms are never compared over
different seeds. Spread is the range over seeds: of four numbers it says more than a deviation.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.ablation.arms import ARMS, EXTRA, MODELS, RATES, SEARCH_STEPS, SEEDS, STEPS, search
from benchmarks.ablation.codecs import CodecScore, CodecScores
from benchmarks.ablation.crops import KINDS, PAGE_EMS
from benchmarks.ablation.runs import Point, Reading, Result, best_rate
from shards import UserError
from shards.console import print_table, run_command

DOCUMENTS = (Path("docs/ablation.md"), Path("docs/measured/ablation.md"))
"""What there is to say, and every table."""

CURVES = "CURVES/"
"""Stands for the folder of the pictures, which each document sees from elsewhere."""

SLOT = re.compile(r"(<!-- ablation (\S+) -->\n).*?(<!-- end -->)", re.S)

NOTHING = "No seed is finished by every arm yet."

PAIRS = (
    ("local", "none"),
    ("global", "none"),
    ("global", "local"),
    ("global-dct", "global"),
    ("global mirrored", "local mirrored"),
    ("global-dct mirrored", "global mirrored"),
)
"""Differences that a claim rests on: the second arm is subtracted from the first."""

TICKS = (0, 25, 100, 400, 1000, 4000)
"""Steps named below the curves; linear to the first of them, then logarithmic."""

LEARNED = ("global-dct", "global-dct mirrored", *EXTRA)
"""What the learned skip is shown beside: its own start, which stays fixed."""

COLOURS = {
    "none": "#777777",
    "local": "#0072b2",
    "global": "#d55e00",
    "global-dct": "#009e73",
    "global-learned": "#cc79a7",
}
"""Okabe and Ito's, which colour-blind readers can tell apart."""


@dataclass(frozen=True, slots=True)
class Study:
    """All results of one model on the same images, and the codecs without a network."""

    model: str
    results: Sequence[Result]
    codecs: Sequence[CodecScore]
    rate: float | None

    def arm(self, arm: str) -> dict[int, Result]:
        """Return the full runs of an arm at the chosen rate, by seed."""
        return {
            result.seed: result
            for result in self.results
            if (result.arm, result.steps, result.rate) == (arm, STEPS, self.rate)
        }

    def seeds(self, arms: Iterable[str] = ARMS) -> list[int]:
        """Return the seeds that all the arms have finished."""
        return [seed for seed in SEEDS if all(seed in self.arm(arm) for arm in arms)]


def studies(folder: Path) -> dict[str, Study]:
    """Read a folder of results, by model.

    Raises:
        UserError: when there is none, or two were made with different images.
    """
    scores = folder / "codecs.json"
    if not scores.is_file():
        raise UserError(
            f"runs: {folder} holds no codecs.json; run python -m benchmarks.ablation "
            f"--runs {folder}"
        )
    codecs = CodecScores.model_validate_json(scores.read_text())
    paths = sorted(folder.glob("*-seed*.json"))
    results = [Result.model_validate_json(path.read_text()) for path in paths]
    strange = [result.run.name for result in results if result.crops != codecs.crops]
    if strange:
        raise UserError(
            f"runs: {strange[0]} was made with other images than {scores}; move it elsewhere"
        )
    names = {run.name for run in search()}
    searched = [result for result in results if result.run.name in names]
    rate = best_rate(searched) if len(searched) == len(names) else None
    return {
        model: Study(
            model,
            [result for result in results if result.model == model],
            [codec for codec in codecs.codecs if codec.model == model],
            rate,
        )
        for model in MODELS
    }


def state(found: dict[str, Study]) -> str:
    """Say in one paragraph how much is finished."""
    lines: list[str] = []
    for model, study in found.items():
        runs = sum(len(study.arm(arm)) for arm in ARMS)
        lines.append(
            f"- {model}: {runs} of {len(ARMS) * len(SEEDS)} runs of {STEPS:,} steps; "
            f"{len(study.seeds())} of {len(SEEDS)} seeds finished by every arm."
        )
    results = [result for study in found.values() for result in study.results]
    if results:
        hours = sum(result.cpu_seconds for result in results) / 3600
        places = sorted({f"{result.machine}, torch {result.torch}" for result in results})
        lines.append(f"- {hours:.1f} hours of one core in all; {'; '.join(places)}.")
    return "\n".join(lines)


def means(found: dict[str, Study]) -> str:
    """Tabulate the mean PSNR at the end of the curves: arms down, models and kinds across."""
    columns = [(study, kind) for study in found.values() for kind in KINDS]
    lines = [_head("dB", *(f"{study.model}, {kind}" for study, kind in columns))]
    for arm in (*ARMS, *EXTRA):
        ends = [[one.end.psnr[kind] for one in study.arm(arm).values()] for study, kind in columns]
        lines.append(_line(arm, *(f"{np.mean(end):.2f}" if end else "" for end in ends)))
    for codec in dict.fromkeys(one.codec for study in found.values() for one in study.codecs):
        cells = [
            one.psnr[kind] for study, kind in columns for one in study.codecs if one.codec == codec
        ]
        lines.append(_line(f"{codec} alone", *(f"{cell:.2f}" for cell in cells)))
    return "\n".join(lines)


def scores(study: Study, arms: Iterable[str]) -> str:
    """Tabulate the ends of the curves, mean (least to most) over seeds, and the codecs."""
    arms = list(arms)
    seeds = study.seeds(arms)
    lines = [_head("arm", "parameters", *(f"{kind}, dB" for kind in KINDS), *_readings_head())]
    for arm in arms if seeds else ():
        results = [study.arm(arm)[seed] for seed in seeds]
        size = f"{sum(results[0].parameters.values()):,}"
        psnrs = [_spread([result.end.psnr[kind] for result in results]) for kind in KINDS]
        lines.append(_line(arm, size, *psnrs, *_read([result.readings for result in results])))
    for codec in study.codecs:
        psnrs = [f"{codec.psnr[kind]:.2f}" for kind in KINDS]
        lines.append(_line(f"{codec.codec} alone", "", *psnrs, *_read([codec.readings])))
    made = f"Seeds {', '.join(map(str, seeds))}; {STEPS:,} steps." if seeds else NOTHING
    return "\n".join([made, "", *lines])


def pairs(study: Study) -> str:
    """Tabulate differences of matched arms, seed by seed: same batches, same start weights."""
    seeds = study.seeds()
    if not seeds:
        return NOTHING
    lines = [_head("difference", *(f"{kind}, dB" for kind in KINDS), "same sign")]
    for arm, other in PAIRS:
        cells: list[str] = []
        same: list[str] = []
        for kind in KINDS:
            gains = [
                study.arm(arm)[seed].end.psnr[kind] - study.arm(other)[seed].end.psnr[kind]
                for seed in seeds
            ]
            cells.append(_spread(gains, "+.2f"))
            agree = sum(np.sign(gain) == np.sign(np.mean(gains)) for gain in gains)
            same.append(f"{agree}/{len(gains)}")
        lines.append(_line(f"{arm} − {other}", *cells, ", ".join(same)))
    return "\n".join(lines)


def order(study: Study) -> str:
    """Name the arms of either kind from best to worst by mean PSNR, whatever the order is."""
    seeds = study.seeds()
    if not seeds:
        return NOTHING
    lines: list[str] = []
    for kind in KINDS:
        by_seed = [{arm: study.arm(arm)[seed].end.psnr[kind] for arm in ARMS} for seed in seeds]
        mean = {arm: float(np.mean([found[arm] for found in by_seed])) for arm in ARMS}
        ranked = _ranked(mean)
        same = sum(_ranked(found) == ranked for found in by_seed)
        lines.append(
            f"- {kind}: {' > '.join(ranked)} (exactly this order in {same} of {len(seeds)} seeds)"
        )
    return "\n".join(lines)


def _ranked(psnr: Mapping[str, float]) -> list[str]:
    return sorted(psnr, key=lambda arm: psnr[arm], reverse=True)


def rates(found: dict[str, Study]) -> str:
    """Tabulate the held-out L1 of the short runs, and say which rate they choose."""
    lines = [_head("model", "arm", *(f"{rate:g}" for rate in RATES), "least at")]
    for model, study in found.items():
        for arm in ARMS:
            ends = {
                result.rate: float(np.exp(np.mean(np.log(list(result.end.l1.values())))))
                for result in study.results
                if (result.arm, result.steps, result.seed) == (arm, SEARCH_STEPS, 0)
            }
            if ends:
                cells = [f"{ends[rate]:.4f}" if rate in ends else "" for rate in RATES]
                best = f"{min(ends, key=lambda rate: ends[rate]):g}" if len(ends) > 1 else ""
                lines.append(_line(model, arm, *cells, best))
    chosen = next(iter(found.values())).rate
    if chosen is None:
        return "\n".join(lines) + "\n\nThe search is not finished."
    return "\n".join(lines) + f"\n\nAll arms train at {chosen:g}."


def curves(study: Study, arms: Iterable[str], path: Path) -> bool:
    """Draw held-out L1 and PSNR of either kind over the steps: mean and range over seeds.

    False, and nothing is written, when no seed is finished by every arm.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    arms = list(arms)
    seeds = study.seeds(arms)
    if not seeds:
        return False
    figure = Figure(figsize=(10, 7), layout="constrained")
    grid: Any = figure.subplots(2, len(KINDS), sharex=True)
    for column, kind in zip(grid.T, KINDS, strict=True):
        column[0].set_title(kind)
        column[-1].set_xlabel("step")
        for axes, of in zip(column, (_l1_of, _psnr_of), strict=True):
            for arm in arms:
                _draw(axes, arm, [study.arm(arm)[seed] for seed in seeds], of, kind)
            for codec, style in zip(study.codecs, (":", "-."), strict=True):
                level, label = of(codec)[kind], f"{codec.codec} alone"
                axes.axhline(level, color="black", linewidth=1, linestyle=style, label=label)
            axes.set_xscale("symlog", linthresh=TICKS[1])
            axes.set_xlim(0, STEPS)
            axes.set_xticks(TICKS, map(str, TICKS))
            axes.minorticks_off()
            axes.spines[["top", "right"]].set_visible(False)
    for axes in grid[0]:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
    grid[0, 0].set_ylabel("held-out L1 of [-1, 1]")
    grid[1, 0].set_ylabel("held-out PSNR, dB")
    count = f"{len(seeds)} seed{'s' if len(seeds) > 1 else ''}"
    figure.suptitle(f"{study.model}, {count}: mean and range")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    return True


def _l1_of(scored: Point | CodecScore) -> dict[str, float]:
    return scored.l1


def _psnr_of(scored: Point | CodecScore) -> dict[str, float]:
    return scored.psnr


def _draw(
    axes: Any,
    arm: str,
    results: Sequence[Result],
    of: Callable[[Point], dict[str, float]],
    kind: str,
) -> None:
    steps = [point.step for point in results[0].curve]
    values = np.array([[of(point)[kind] for point in result.curve] for result in results])
    colour = COLOURS[arm.removesuffix(" mirrored")]
    style = "--" if arm.endswith(" mirrored") else "-"
    axes.plot(steps, values.mean(0), color=colour, linestyle=style, linewidth=1.5, label=arm)
    axes.fill_between(steps, values.min(0), values.max(0), color=colour, alpha=0.18, linewidth=0)


def fill(document: Path, parts: dict[str, str]) -> None:
    """Put the parts into the slots of a Markdown file: `<!-- ablation NAME -->` to `<!-- end -->`.

    Raises:
        UserError: when the file has a slot that is no part.
    """
    text = document.read_text("utf-8")
    unknown = {slot[2] for slot in SLOT.finditer(text)} - set(parts)
    if unknown:
        raise UserError(f"{document}: no part is called {min(unknown)}; use {', '.join(parts)}")
    filled = SLOT.sub(lambda slot: f"{slot[1]}{parts[slot[2]]}\n{slot[3]}", text)
    document.write_text(filled, "utf-8")


def main(
    runs: Annotated[Path, typer.Argument(help="Folder of the results.")] = Path("docs/ablation"),
    documents: Annotated[
        list[Path] | None, typer.Argument(help="Pages whose tables are filled.", show_default=False)
    ] = None,
) -> None:
    """Print every finished run, draw the curves beside the results, fill the tables of the pages.

    Without pages those of docs/ are filled.
    """
    found = studies(runs)
    rows = [_row(result) for study in found.values() for result in study.results]
    print_table("Finished runs, scores on held-out images", rows)
    print(state(found))
    parts = {"state": state(found), "rates": rates(found), "means": means(found)}
    for model, study in found.items():
        parts |= {f"{model}-order": order(study), f"{model}-pairs": pairs(study)}
        for name, arms in ((model, ARMS), (f"{model}-learned", LEARNED)):
            parts[name], picture = scores(study, arms), runs / f"{name}.png"
            if curves(study, arms, picture):
                parts[f"{name}-curves"] = f"![Curves of {name}]({CURVES}{picture.name})"
    for document in documents or DOCUMENTS:
        place = Path(os.path.relpath(runs, document.parent)).as_posix()
        fill(document, {name: part.replace(CURVES, f"{place}/") for name, part in parts.items()})


def _row(result: Result) -> dict[str, Any]:
    row: dict[str, Any] = {"model": result.model, "arm": result.arm, "seed": result.seed}
    row |= {"steps": result.steps, "rate": f"{result.rate:g}"}
    row |= {f"{kind}, dB": round(result.end.psnr[kind], 2) for kind in KINDS}
    row |= {f"NED {em} px": reading.ned for em, reading in result.readings.items()}
    return row | {"CPU s": round(result.cpu_seconds)}


def _readings_head() -> list[str]:
    return [f"NED {em} px" for em in PAGE_EMS]


def _read(readings: Sequence[dict[int, Reading]]) -> list[str]:
    cells: list[str] = []
    for em in PAGE_EMS:
        values = [found[em].ned for found in readings]
        cells.append(_spread([value for value in values if value is not None]))
    return cells


def _spread(values: Sequence[float], form: str = ".2f") -> str:
    """Format a mean, and the range where there is one."""
    if not values:
        return ""
    mean = f"{np.mean(values):{form}}"
    return mean if len(values) == 1 else f"{mean} ({min(values):{form}} to {max(values):{form}})"


def _head(*cells: str) -> str:
    return _line(*cells) + "\n" + _line("---", *["---:"] * (len(cells) - 1))


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    run_command(main)
