"""Defines the commands that compare jobs."""

from typing import Annotated, Any

import typer

from candela.cli.job_lookup import find_job_id
from candela.cli.options import AsJson, JobRefs
from candela.cli.output import print_json_or


def compare(refs: JobRefs, as_json: AsJson = False) -> None:
    """Compare 2 to 50 jobs: differences of their specs, last and best metrics, environments."""
    from candela.client import Client
    from candela.rendering.comparison import print_comparison

    with Client() as client:
        comparison = client.jobs.compare([find_job_id(client, ref) for ref in refs])
        print_json_or(comparison, as_json, lambda: print_comparison(comparison))


def curves(
    refs: JobRefs,
    name: Annotated[str | None, typer.Option(help="Name of the metric, for example loss.")] = None,
    split: Annotated[str, typer.Option(help="Split: train, valid, test or usage.")] = "valid",
    curve: Annotated[
        list[str] | None,
        typer.Option("--curve", metavar="SPLIT/NAME", help="A curve, for example valid/loss; repeatable."),
    ] = None,
    x: Annotated[str, typer.Option(help="Axis: step, epoch or time.")] = "step",
    buckets: Annotated[int, typer.Option(min=2, max=2000, help="Maximum number of buckets.")] = 100,
    start: Annotated[float | None, typer.Option("--from", help="Lowest position on the axis.")] = None,
    end: Annotated[float | None, typer.Option("--to", help="Highest position on the axis.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show metrics of several jobs on one axis: the one of --name and --split, or those of --curve."""
    from candela.client import Client
    from candela.rendering.comparison import print_grid

    if (name is None) == (not curve):
        raise typer.BadParameter("give either --name or --curve")
    with Client() as client:
        job_ids = [find_job_id(client, ref) for ref in refs]
        options: dict[str, Any] = {"curves": curve} if curve else {"name": name, "split": split}
        grid = client.jobs.curves(job_ids, **options, x=x, buckets=buckets, start=start, end=end)
        print_json_or(grid, as_json, lambda: print_grid(grid))
