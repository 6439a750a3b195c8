"""What `nonpareil render` and `nonpareil filter` do with a job: make its shards, or plan them."""

import typer

from pipelines.engine.jobs import Job
from pipelines.engine.run_options import RunOptions
from shards.console import print_json
from shards.errors import UserError
from shards.store import Store


def make_or_plan(
    title: str,
    job: Job,
    out: Store,
    options: RunOptions,
    *,
    dry_run: bool,
    price: float | None,
    as_json: bool,
) -> None:
    """Run a job behind a progress bar or, with `dry_run`, print its plan.

    Raises:
        UserError: for options that do not go together, and as `pipelines.engine.workers.Run` does.
    """
    from pipelines.engine.estimate import estimate
    from pipelines.engine.progress import describe, follow

    if price is not None and not dry_run:
        raise UserError("--price is for --dry-run, which estimates the cost")
    if dry_run:
        plan = estimate(job, out, options, price=price)
        print_json(plan.row()) if as_json else typer.echo("\n".join(plan.lines()))
        return
    summary = follow(title, job, out, options)
    print_json(summary) if as_json else typer.echo(f"{out}: {describe(summary)}")
