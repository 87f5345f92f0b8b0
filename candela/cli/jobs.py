"""Defines the commands that list, show, control, copy, annotate and delete jobs."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from candela.cli.job_lookup import find_job, find_sweep_id
from candela.cli.options import AsJson, JobRef, Overrides
from candela.cli.output import print_deleted, print_job, print_json, print_state

JOB_STATES = "queued, running, pausing, paused, cancelling, succeeded, failed or cancelled"


def list_jobs(
    context: typer.Context,
    state: Annotated[str | None, typer.Option(help=f"Only jobs in this state: {JOB_STATES}.")] = None,
    name: Annotated[str | None, typer.Option(help="Only jobs with this name.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only jobs of this kind, for example train.")] = None,
    job_id: Annotated[str | None, typer.Option("--id", help="Only jobs whose id starts with these digits.")] = None,
    search: Annotated[str | None, typer.Option("--search", "-q", help="Only jobs with this text.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Only jobs with this tag; repeatable.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only jobs with this dataset: NAME or NAME@VERSION.")] = None,
    model: Annotated[str | None, typer.Option(help="Only jobs whose model has this name.")] = None,
    sweep: Annotated[
        str | None,
        typer.Option(help="Only jobs of the trials of this sweep: its id, the start of its id, its name, or latest."),
    ] = None,
    sort: Annotated[
        str | None, typer.Option(help="Order, for example -metrics.valid_accuracy.best or duration; - reverses it.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of jobs.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first or in the order of --sort."""
    from candela.client import Client
    from candela.rendering.job_table import print_jobs

    if context.invoked_subcommand is not None:
        return
    with Client() as client:
        found = client.jobs.list(
            id=job_id,
            state=state,
            name=name,
            kind=kind,
            q=search,
            tags=tag or (),
            dataset=dataset,
            model=model,
            sweep=None if sweep is None else find_sweep_id(client, sweep),
            sort=sort,
            limit=limit,
        )
        listed_jobs = list(found)
        if as_json:
            print_json([job.response for job in listed_jobs])
        else:
            print_jobs(listed_jobs, first_metric=_get_sorted_metric(sort))


def _get_sorted_metric(sort: str | None) -> str | None:
    """Return the metric of an order such as `-metrics.valid_accuracy.best`."""
    parts = (sort or "").removeprefix("-").split(".")
    return parts[1] if parts[0] == "metrics" and len(parts) > 1 else None


def show(ref: JobRef, as_json: AsJson = False) -> None:
    """Show the state, progress, metrics, failure and history of a job."""
    from candela.client import Client

    with Client() as client:
        print_job(find_job(client, ref), as_json=as_json)


def cancel(
    ref: JobRef,
    force: Annotated[bool, typer.Option("--force", help="Cancel at once, without writing a last checkpoint.")] = False,
    as_json: AsJson = False,
) -> None:
    """Cancel a job. Its checkpoints are retained."""
    from candela.client import Client

    with Client() as client:
        print_state(find_job(client, ref).cancel(force=force), as_json=as_json)


def priority(
    ref: JobRef,
    value: Annotated[int, typer.Argument(metavar="N", min=-1000, max=1000)],
    as_json: AsJson = False,
) -> None:
    """Set the priority of a queued job. Higher priorities run first; the default is 0."""
    from candela.client import Client

    with Client() as client:
        print_state(find_job(client, ref).set_priority(value), as_json=as_json)


def pause(ref: JobRef, as_json: AsJson = False) -> None:
    """Pause a job. `candela resume` continues it, with the same results as without a pause."""
    from candela.client import Client

    with Client() as client:
        print_state(find_job(client, ref).pause(), as_json=as_json)


def resume(ref: JobRef, as_json: AsJson = False) -> None:
    """Resume a paused job."""
    from candela.client import Client

    with Client() as client:
        print_state(find_job(client, ref).resume(), as_json=as_json)


def finish(ref: JobRef, as_json: AsJson = False) -> None:
    """Finish a job after the current epoch and register its model."""
    from candela.client import Client

    with Client() as client:
        print_state(find_job(client, ref).finish(), as_json=as_json)


def extend(
    ref: JobRef,
    epochs: Annotated[int, typer.Option(min=1, help="Number of additional epochs.")],
    schedule: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="New schedule for these epochs as YAML or JSON; - reads standard input."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train a succeeded job for more epochs. Without --schedule, the schedule of the job continues."""
    from candela.client import Client
    from candela.specs import read_spec

    with Client() as client:
        job = find_job(client, ref)
        existing_warnings = job.response["warnings"]
        job.extend(epochs, schedule=None if schedule is None else read_spec(schedule))
        for warning in job.response["warnings"]:
            if warning not in existing_warnings:
                print(f"warning: {warning}", file=sys.stderr)
        print_state(job, as_json=as_json)


def register(ref: JobRef, as_json: AsJson = False) -> None:
    """Register the model of a job that was submitted with register=false."""
    from candela.client import Client

    with Client() as client:
        job = find_job(client, ref).register()
        if as_json or job.model is None:
            print_state(job, as_json=as_json)
        else:
            print(f"{job.model['name']}@{job.model['version']}")


def clone(ref: JobRef, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Submit a new job with the spec of a job, and with changes such as optimizer.lr=0.01."""
    from candela.cli.overrides import apply_overrides, build_patch, parse_overrides
    from candela.client import Client

    changes = parse_overrides(overrides or ())
    with Client() as client:
        job = find_job(client, ref)
        spec = job.response["spec"]
        print_state(job.clone(build_patch(spec, apply_overrides(spec, changes))), as_json=as_json)


def delete(ref: JobRef, as_json: AsJson = False) -> None:
    """Delete a job that has ended, with its checkpoints and artifacts. Its models remain."""
    from candela.client import Client

    with Client() as client:
        job = find_job(client, ref)
        job.delete()
        print_deleted(f"{job.id} {job.name}", as_json=as_json, id=job.id)


def annotate(
    ref: JobRef,
    tag: Annotated[list[str] | None, typer.Option(help="A tag; repeatable. The tags replace all earlier ones.")] = None,
    no_tags: Annotated[bool, typer.Option("--no-tags", help="Delete all tags.")] = False,
    note: Annotated[str | None, typer.Option(help="A note in Markdown; an empty text deletes it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Set the tags or the note of a job."""
    from candela.client import Client

    if tag is None and note is None and not no_tags:
        raise typer.BadParameter("give at least one of --tag, --no-tags and --note")
    if tag and no_tags:
        raise typer.BadParameter("--tag and --no-tags exclude each other")
    with Client() as client:
        job = find_job(client, ref)
        if tag or no_tags:
            job.set_tags(tag or ())
        if note is not None:
            job.set_note(note or None)
        if as_json:
            print_json(job.response)
        else:
            print(f"{job.id} {' '.join(job.response['tags'])}".rstrip())
