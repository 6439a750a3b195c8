"""`nonpareil plan`, also `python -m pipelines.plan`: what a training run will take."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.options import JsonOption, RecipeArgument, SetOption, places_by_name
from shards.console import print_table, run_command
from shards.errors import UserError
from shards.places import anywhere, file_at
from shards.store import Store

if TYPE_CHECKING:
    from shards.store import Places, Where
    from vae import TrainSettings
    from vae.training.plan import Mode, Plan, Seen, Stretch


def plan(
    recipe: RecipeArgument,
    *,
    stream: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=DIR|URL",
            help="A stream of the recipe and its shards: how many images fit, how often seen.",
            show_default=False,
        ),
    ] = [],  # noqa: B006 - typer copies defaults
    ranks: Annotated[int, typer.Option(min=1, metavar="N", help="Processes, a GPU each.")] = 1,
    gpu: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Kind of GPU: h100, h200, a100, l40s or rtx4090. Without it nothing is timed.",
            show_default=False,
        ),
    ] = "",
    price: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="PRICE", help="Price of a GPU-hour, in any currency.", show_default=False
        ),
    ] = None,
    utilisation: Annotated[
        float,
        typer.Option(
            min=0.01,
            max=1.0,
            metavar="SHARE",
            help="Assumed share of the peak that convs and matrix products reach.",
        ),
    ] = 0.5,
    picture: Annotated[
        Store | None,
        typer.Option(
            parser=anywhere("--picture"),
            metavar="FILE|URL",
            help="Draw what the curriculum decides, over the samples seen, into a .svg or .png.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
    settings: SetOption = [],  # noqa: B006 - typer copies defaults
) -> None:
    """Say what a training run will take, before it starts.

    No weights and no images are read. By stage: shapes, steps, how often images are seen, FLOP,
    memory of a rank in every mode; with --gpu also hours, what limits them, and with --price the
    cost.

    Example: nonpareil plan train_f16c64 --ranks 64 --gpu h100 --price 2.5
    """
    from pipelines.recipe import load
    from vae import TrainSettings

    asked = load(TrainSettings, recipe, settings)
    streams = places_by_name(stream, "--stream")
    made = Outlook.of(asked, streams, ranks, gpu=gpu, utilisation=utilisation, price=price)
    if picture is not None:
        made.draw(picture)
    if as_json:
        typer.echo(json.dumps(made.row(), indent=1))
    else:
        made.show()


class Outlook:
    """A plan, with what it assumes, for a person.

    Of the streams in `known` it has the sizes of images; it is None where none were given.
    """

    def __init__(
        self, plan: Plan, known: frozenset[str] | None, assumed: Mapping[str, Any]
    ) -> None:
        self.plan, self.known, self.assumed = plan, known, assumed

    @classmethod
    def of(
        cls,
        settings: TrainSettings,
        streams: Mapping[str, Places],
        ranks: int,
        *,
        gpu: str = "",
        utilisation: float = 0.5,
        price: float | None = None,
    ) -> Outlook:
        """Plan a run of `ranks` ranks; streams that are not given count as endless.

        Raises:
            UserError: for whatever the run would be refused for before its first step.
        """
        from vae.curriculum.stage import streams_of
        from vae.data.batches import open_streams, sizes_of
        from vae.data.unindexed import ANY_SIZE, Unindexed
        from vae.training.budget import GPUS
        from vae.training.check import check
        from vae.training.plan import plan

        if gpu and gpu not in GPUS:
            raise UserError(f"--gpu {gpu} is not known; choose {', '.join(GPUS)}")
        if price is not None and not gpu:
            raise UserError("--price needs --gpu NAME: hours follow from the GPU")
        known = None
        if streams:
            readers = open_streams(streams, settings.stages)
            curriculum = settings.curriculum(sizes_of(readers))
            check(settings, curriculum, streams, readers, ranks)
            known = frozenset(
                name for name, reader in readers.items() if not isinstance(reader, Unindexed)
            )
        else:
            names = streams_of(settings.stages)
            curriculum = settings.curriculum(dict.fromkeys(names, ANY_SIZE))
        made = plan(
            settings,
            curriculum,
            world=ranks,
            gpu=GPUS.get(gpu),
            utilisation=utilisation,
        )
        assumed = {"gpu": gpu, "utilisation": utilisation, "price": price}
        return cls(made, known, assumed)

    def row(self) -> dict[str, Any]:
        """Return everything by name, for machines: bytes, seconds, FLOP."""
        plan, modes = self.plan, self.modes()
        row: dict[str, Any] = {
            "samples": plan.curriculum.samples,
            "steps": plan.curriculum.steps,
            "ranks": plan.world,
            **plan.numbers._asdict(),
            **self.assumed,
            "stages": [
                {
                    "name": stretch.stage.name,
                    "steps": stretch.steps,
                    "shapes": [[*shape, count] for shape, count in stretch.shapes.items()],
                    "streams": {
                        name: seen._asdict()
                        if name in (self.known or ())
                        else {"drawn": seen.drawn}
                        for name, seen in stretch.streams.items()
                    },
                    "flop": stretch.flop(mode),
                    "mode": _name(mode),
                    "memory": {_name(m): kept._asdict() for m, kept in stretch.memory.items()},
                    **(stretch.paces[mode]._asdict() if stretch.paces else {}),
                }
                for stretch, mode in zip(plan.stretches, modes, strict=True)
            ],
        }
        if self.assumed["gpu"]:
            row["gpu_hours"] = plan.hours(modes)
        if self.assumed["price"] is not None:
            row["cost"] = plan.hours(modes) * self.assumed["price"]
        return row

    def modes(self) -> list[Mode]:
        """Return the mode of each stage."""
        from vae.training.budget import GPUS
        from vae.training.plan import chosen

        gpu = GPUS.get(self.assumed["gpu"])
        memory = None if gpu is None else gpu.memory
        return [chosen(stretch, memory) for stretch in self.plan.stretches]

    def show(self) -> None:
        """Print the tables and what limits the run."""
        plan, modes = self.plan, self.modes()
        curriculum, numbers = plan.curriculum, plan.numbers
        typer.echo(
            f"{curriculum.samples:,} samples in {curriculum.steps:,} steps on {plan.world} "
            f"{'rank' if plan.world == 1 else 'ranks'}; "
            f"{numbers.trained / 1e6:,.2f} M weights trained, {numbers.frozen / 1e6:,.2f} M frozen"
        )
        pairs = list(zip(plan.stretches, modes, strict=True))
        self._table("stages", [_stage_row(stretch, mode) for stretch, mode in pairs])
        self._table(
            "streams, not given: endless, of square images" if self.known is None else "streams",
            [
                _stream_row(stretch, name, seen, self.known)
                for stretch in plan.stretches
                for name, seen in stretch.streams.items()
            ],
        )
        dtype = str(modes[0].dtype).removeprefix("torch.")
        self._table(
            f"memory of a rank, GiB, in {dtype}; gradients and weights as in fast",
            [
                _memory_row(stretch, recompute)
                for stretch in plan.stretches
                for recompute in (False, True)
            ],
        )
        if self.assumed["gpu"]:
            self._table("time", [_pace_row(stretch, mode, plan.world) for stretch, mode in pairs])
            self._total(modes)

    def _table(self, title: str, rows: list[dict[str, Any]]) -> None:
        typer.echo()
        print_table(title, rows)

    def _total(self, modes: Sequence[Mode]) -> None:
        from vae.training.budget import GPUS, NODE, RESERVE
        from vae.training.plan import check_fits

        plan, name = self.plan, str(self.assumed["gpu"])
        gpu, hours = GPUS[name], plan.hours(modes)
        longest = max(
            zip(plan.stretches, modes, strict=True), key=lambda pair: pair[0].seconds(pair[1])
        )
        typer.echo(f"\ntotal    {hours:,.1f} GPU-hours, {hours / plan.world / 24:,.2f} days")
        if self.assumed["price"] is not None:
            price = self.assumed["price"]
            typer.echo(f"cost     {hours * price:,.0f}, in the currency of --price {price:g}")
        typer.echo(
            f"limit    {longest[0].paces[longest[1]].limit}, in stage {longest[0].stage.name}, "
            "which takes longest"
        )
        typer.echo(
            f"assumed  {name}: {gpu.flop(modes[0].dtype) / 1e12:,.0f} TFLOP/s at "
            f"{self.assumed['utilisation']:.0%} in convs and matrix products, memory "
            f"{gpu.bandwidth / 1e12:.2f} TB/s; {gpu.link / 1e9:,.0f} GB/s between {NODE} GPUs of a "
            f"node, {gpu.network / 1e9:g} GB/s a GPU beyond; {RESERVE / 2**30:g} GiB left free; no "
            "time for watching, checkpoints and failures"
        )
        for stretch, mode in zip(plan.stretches, modes, strict=True):
            check_fits(stretch, mode, gpu.memory)

    def draw(self, file: Where) -> None:
        """Draw every knob over n into a file, here or in a bucket.

        Raises:
            UserError: when it is neither .svg nor .png.
        """
        from pipelines.knobs import draw_knobs

        above, name = file_at(file, "--picture", (".svg", ".png"))
        drawn = io.BytesIO()
        ending = name.rpartition(".")[2].lower()
        draw_knobs(self.plan.curriculum).savefig(drawn, dpi=110, format=ending)
        above.replace(name, drawn.getvalue())


def _name(mode: Mode) -> str:
    dtype = str(mode.dtype).removeprefix("torch.")
    return f"{dtype}, {'recomputed' if mode.recompute else 'kept'}, {mode.reduce}"


def _stage_row(stretch: Stretch, mode: Mode) -> dict[str, Any]:
    stage, shapes = stretch.stage, [*stretch.shapes]
    widest = max(shapes, key=lambda shape: shape[1] / shape[0])
    tallest = max(shapes, key=lambda shape: shape[0] / shape[1])
    images = stage.samples
    return {
        "stage": stage.name,
        "px": stage.resolution,
        "shapes": len(shapes),
        "widest": f"{widest[1]}x{widest[0]}",
        "tallest": f"{tallest[1]}x{tallest[0]}",
        "samples": stage.samples,
        "steps": stretch.steps,
        "batch": stage.batch,
        "micro": stage.micro,
        "a rank's": stretch.parts,
        "GFLOP/image": round(stretch.flop(mode) / images / 1e9, 1),
        "PFLOP": round(stretch.flop(mode) / 1e15, 2),
    }


def _stream_row(
    stretch: Stretch, name: str, seen: Seen, known: frozenset[str] | None
) -> dict[str, Any]:
    row: dict[str, Any] = {"stage": stretch.stage.name, "stream": name, "drawn": seen.drawn}
    if known is None:
        return row
    sizes = {
        "images": seen.images,
        "too small": seen.images - seen.held,
        "times each": round(seen.epochs, 2),
    }
    return row | (sizes if name in known else dict.fromkeys(sizes, "unknown"))


def _memory_row(stretch: Stretch, recompute: bool) -> dict[str, Any]:
    modes = {mode.reduce: mode for mode in stretch.memory if mode.recompute == recompute}
    memory = {name: stretch.memory[mode] for name, mode in modes.items()}
    parts = memory["fast"]._asdict()
    totals = {f"total, {name}": kept.total for name, kept in memory.items()}
    return {
        "stage": stretch.stage.name,
        "blocks": "recomputed" if recompute else "kept",
        **{name: round(size / 2**30, 3) for name, size in (parts | totals).items()},
    }


def _pace_row(stretch: Stretch, mode: Mode, world: int) -> dict[str, Any]:
    pace, stage = stretch.paces[mode], stretch.stage
    speed = stage.batch / pace.seconds
    return {
        "stage": stage.name,
        "mode": _name(mode),
        "s/step": round(pace.seconds, 4),
        "arithmetic": round(pace.arithmetic, 4),
        "traffic": round(pace.traffic, 4),
        "exposed": round(pace.exposed, 4),
        "GB sent": round(pace.sent / 1e9, 2),
        "images/s": round(speed, 1),
        "a rank's": round(speed / world, 2),
        "GPU-hours": round(world * stretch.seconds(mode) / 3600, 1),
        "limit": pace.limit,
    }


if __name__ == "__main__":
    run_command(plan)
