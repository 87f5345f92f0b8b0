"""Defines the commands that list, annotate and compare jobs."""

from typing import Annotated

import typer

from candela.cli.datasets import AsJson
from candela.cli.extend import JobId

JobIds = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of the jobs.")]


def jobs(
    state: Annotated[str | None, typer.Option(help="List only jobs in this state.")] = None,
    name: Annotated[str | None, typer.Option(help="List only jobs with this name.")] = None,
    search: Annotated[str | None, typer.Option("--search", "-q", help="List only jobs with this text.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="List only jobs with this tag; repeatable.")] = None,
    dataset: Annotated[str | None, typer.Option(help="List only jobs with this dataset: NAME or NAME@VERSION.")] = None,
    model: Annotated[str | None, typer.Option(help="List only jobs whose model has this name.")] = None,
    sort: Annotated[
        str | None, typer.Option(help="Order, for example -metrics.valid_accuracy.best or duration; - reverses it.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of jobs.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first or in the order of --sort."""
    from candela.client import Client
    from candela.rendering import responses as render

    with Client() as client:
        found = client.jobs.list(
            state=state, name=name, q=search, tags=tag or (), dataset=dataset, model=model, sort=sort, limit=limit
        )
        listed_jobs = list(found)
        render.print_json_or([job.response for job in listed_jobs], as_json, lambda: render.print_jobs(listed_jobs))


def annotate(
    job_id: JobId,
    tag: Annotated[list[str] | None, typer.Option(help="A tag; repeatable. The tags replace all earlier ones.")] = None,
    no_tags: Annotated[bool, typer.Option("--no-tags", help="Delete all tags.")] = False,
    note: Annotated[str | None, typer.Option(help="A note in Markdown; an empty text deletes it.")] = None,
) -> None:
    """Set the tags or the note of a job."""
    from candela.client import Client

    if tag is None and note is None and not no_tags:
        raise typer.BadParameter("give at least one of --tag, --no-tags and --note")
    if tag and no_tags:
        raise typer.BadParameter("--tag and --no-tags exclude each other")
    with Client() as client:
        job = client.jobs.get(job_id)
        if tag or no_tags:
            job.set_tags(tag or ())
        if note is not None:
            job.set_note(note or None)
        print(f"{job.id} {' '.join(job.response['tags'])}".rstrip())


def compare(job_ids: JobIds, as_json: AsJson = False) -> None:
    """Compare 2 to 50 jobs: differences of their specs, last and best metrics, environments."""
    from candela.client import Client
    from candela.rendering import responses as render
    from candela.rendering.comparison import print_comparison

    with Client() as client:
        comparison = client.jobs.compare(job_ids)
        render.print_json_or(comparison, as_json, lambda: print_comparison(comparison))


def curves(
    job_ids: JobIds,
    name: Annotated[str, typer.Option(help="Name of the metric, for example loss.")],
    split: Annotated[str, typer.Option(help="Split: train, valid, test or usage.")] = "valid",
    x: Annotated[str, typer.Option(help="Axis: step, epoch or time.")] = "step",
    buckets: Annotated[int, typer.Option(min=2, max=2000, help="Maximum number of buckets.")] = 100,
    start: Annotated[float | None, typer.Option("--from", help="Lowest position on the axis.")] = None,
    end: Annotated[float | None, typer.Option("--to", help="Highest position on the axis.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show one metric of several jobs on one axis."""
    from candela.client import Client
    from candela.rendering import responses as render
    from candela.rendering.comparison import print_grid

    with Client() as client:
        grid = client.jobs.curves(job_ids, name, split, x=x, buckets=buckets, start=start, end=end)
        render.print_json_or(grid, as_json, lambda: print_grid(grid))


def usage(job_id: JobId, as_json: AsJson = False) -> None:
    """Show processor time, memory, waiting time and throughput of a training."""
    from candela.client import Client
    from candela.rendering import responses as render
    from candela.rendering.comparison import print_usage

    with Client() as client:
        series = client.jobs.get(job_id).usage()
        render.print_json_or(series, as_json, lambda: print_usage(series))
