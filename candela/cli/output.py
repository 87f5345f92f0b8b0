"""Prints what commands return: JSON, a job, its state, a deleted thing or the path of a file."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from candela.jobs import Job


def print_json(response: object) -> None:
    print(json.dumps(response, indent=2, ensure_ascii=False))


def print_json_or(response: object, as_json: bool, show: Callable[[], None]) -> None:
    """Print the response as JSON if requested, otherwise call `show`."""
    if as_json:
        print_json(response)
    else:
        show()


def print_job(job: "Job", *, as_json: bool) -> None:
    """Print a job with its progress, metrics and history."""
    from candela.rendering import job_view

    if as_json:
        print_json(job.response)
    else:
        job_view.print_job(job)


def print_state(job: "Job", *, as_json: bool) -> None:
    """Print the id and the state of a job."""
    if as_json:
        print_json(job.response)
    else:
        print(f"{job.id} {job.state}")


def print_path(path: Path, *, as_json: bool) -> None:
    """Print the path of a file that was written."""
    if as_json:
        print_json({"path": str(path)})
    else:
        print(path)


def print_deleted(text: str, /, *, as_json: bool, **fields: Any) -> None:  # noqa: ANN401 - JSON
    """Print what was deleted. `fields` identify it in JSON."""
    if as_json:
        print_json({"deleted": fields})
    else:
        print(f"deleted {text}")


def exit_unless_succeeded(*jobs: "Job") -> None:
    """Exit with status 1 if a job neither succeeded nor paused at a milestone. The job has been printed before."""
    for job in jobs:
        if job.is_at_milestone:
            epoch = job.response["progress"].get("epoch")
            print(f"{job.name} is paused at the milestone of epoch {epoch}: candela resume {job.id}", file=sys.stderr)
    if any(not (job.state == "succeeded" or job.is_at_milestone) for job in jobs):
        raise typer.Exit(1)
