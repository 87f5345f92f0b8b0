"""Defines the command `candela extend`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

JobId = Annotated[str, typer.Argument(metavar="ID", help="Id of the job.")]


def extend(
    job_id: JobId,
    epochs: Annotated[int, typer.Option(min=1, help="Number of additional epochs.")],
    schedule: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="New schedule for these epochs as YAML or JSON; - reads standard input."),
    ] = None,
) -> None:
    """Train a succeeded job for more epochs. Without --schedule, the schedule of the job continues."""
    from candela.client import Client
    from candela.specs import read_spec

    with Client() as client:
        job = client.jobs.get(job_id)
        existing_warnings = job.response["warnings"]
        job.extend(epochs, schedule=None if schedule is None else read_spec(schedule))
        for warning in job.response["warnings"]:
            if warning not in existing_warnings:
                print(f"warning: {warning}", file=sys.stderr)
        print(f"{job.id} {job.state}")
