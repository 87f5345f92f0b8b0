"""Defines the command `candela watch`."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from candela.cli.job_lookup import find_job
from candela.cli.options import AsJson
from candela.cli.output import exit_unless_succeeded, print_job, print_json

if TYPE_CHECKING:
    from candela.jobs import Job


def watch(
    refs: Annotated[
        list[str],
        typer.Argument(metavar="ID...", help="Ids of 1 to 200 jobs, the starts of ids, names, or latest."),
    ],
    as_json: AsJson = False,
) -> None:
    """Show the progress of jobs until they end or pause at a milestone.

    The exit status is 0 only if all jobs succeeded or are paused at a milestone.
    """
    from candela.client import Client
    from candela.rendering.job_table import print_jobs
    from candela.rendering.live_view import follow_job, follow_jobs

    with Client() as client:
        jobs = list({job.id: job for job in (find_job(client, ref) for ref in dict.fromkeys(refs))}.values())
        if len(jobs) == 1:
            follow_job(jobs[0], quiet=as_json)
            print_job(jobs[0], as_json=as_json)
        else:
            follow_jobs(client, jobs, quiet=as_json)
            if as_json:
                print_json([job.response for job in jobs])
            else:
                print_jobs(jobs)
                _print_failures(jobs)
        exit_unless_succeeded(*jobs)


def _print_failures(jobs: list["Job"]) -> None:
    """Print why jobs did not succeed, which the table of the jobs does not say."""
    from candela.errors import JobFailed

    for job in jobs:
        if job.state != "succeeded" and not job.is_at_milestone:
            print(f"candela: {JobFailed(job.id, job.state, job.response['failure'])}", file=sys.stderr)
