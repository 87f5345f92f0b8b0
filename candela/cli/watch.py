"""Defines the command `candela watch`."""

from typing import Annotated

import typer


def watch(
    job_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of one or more jobs, at most 200.")],
) -> None:
    """Show the progress of jobs until they end. The exit status is 0 only if all jobs succeeded."""
    from candela.client import Client
    from candela.rendering import responses as render
    from candela.rendering.live_view import follow_job, follow_jobs

    with Client() as client:
        jobs = [client.jobs.get(job_id) for job_id in dict.fromkeys(job_ids)]
        if len(jobs) == 1:
            follow_job(jobs[0])
            render.print_job(jobs[0])
        else:
            follow_jobs(client, jobs)
            render.print_jobs(jobs)
        for job in jobs:
            job.raise_for_failure()
