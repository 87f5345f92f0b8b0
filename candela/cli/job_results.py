"""Defines the commands that read what jobs produce: logs, metrics, events, files and checkpoints."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from candela.cli.job_lookup import find_job
from candela.cli.options import AsJson, JobRef, Target
from candela.cli.output import print_json, print_json_or, print_path

if TYPE_CHECKING:
    from candela.jobs import Job
    from candela.result_types import LogLine

MAX_LINES = 10_000  # of a response
FOLLOW_INTERVAL_S = 1.0


def logs(
    ref: JobRef,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print new lines until the job ends.")] = False,
    last: Annotated[
        int | None, typer.Option("--last", "-n", min=1, max=MAX_LINES, help="Start with the last N lines.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the log of a job. With --follow and --json, each line is a JSON object."""
    from candela.client import Client

    with Client() as client:
        job = find_job(client, ref)
        lines = _iterate_log_lines(job, follow=follow, last=last)
        if as_json and not follow:
            print_json(list(lines))
            return
        for line in lines:
            print(json.dumps(line, ensure_ascii=False) if as_json else _format_log_line(line), flush=follow)


def _iterate_log_lines(job: "Job", *, follow: bool, last: int | None) -> Iterator["LogLine"]:
    """Yield the lines of a log; with `follow`, until the job has ended."""
    after: int | None = None if last else 0
    while True:
        has_ended = not follow or job.refresh().is_finished  # read before the lines, so that the last lines are printed
        lines = job.log_lines(last=last) if after is None else job.log_lines(after=after, limit=MAX_LINES)
        yield from lines
        after = lines[-1]["seq"] if lines else after or 0
        if len(lines) == MAX_LINES:
            continue
        if has_ended:
            return
        time.sleep(FOLLOW_INTERVAL_S)


def _format_log_line(line: "LogLine") -> str:
    from candela.rendering.formats import format_time

    return f"{format_time(line['at'])}  {line['level']:<7}  {line['message']}"


def metrics(
    ref: JobRef,
    name: Annotated[str | None, typer.Option(help="Show only this metric, for example accuracy.")] = None,
    split: Annotated[str | None, typer.Option(help="Show only this split: train, valid or test.")] = None,
    since: Annotated[int | None, typer.Option("--since-step", min=0, help="Show only points after this step.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the last, lowest and highest value of each metric of a job, and its curve as a sparkline."""
    from candela.client import Client
    from candela.rendering import responses

    with Client() as client:
        series = find_job(client, ref).metrics(name=name, split=split, since_step=since, max_points=500)
        print_json_or(series, as_json, lambda: responses.print_series(series))


def events(ref: JobRef, as_json: AsJson = False) -> None:
    """Print the events of a job until it ends, one JSON object per line."""
    from candela.client import Client

    with Client() as client:
        job = find_job(client, ref)
        for event in job.watch():
            print(json.dumps(event, ensure_ascii=False), flush=True)


def artifacts(ref: JobRef, as_json: AsJson = False) -> None:
    """List the artifacts of a job."""
    from candela.client import Client
    from candela.rendering import responses

    with Client() as client:
        files = find_job(client, ref).artifacts()
        print_json_or(files, as_json, lambda: responses.print_artifacts(files))


def download(
    ref: JobRef,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of an artifact.")],
    to: Target = Path(),
    as_json: AsJson = False,
) -> None:
    """Download an artifact of a job and print its path."""
    from candela.client import Client

    with Client() as client:
        print_path(find_job(client, ref).download_artifact(name, to), as_json=as_json)


def checkpoints(ref: JobRef, as_json: AsJson = False) -> None:
    """List the checkpoints of a job."""
    from candela.client import Client
    from candela.rendering import responses

    with Client() as client:
        found = find_job(client, ref).checkpoints()
        print_json_or(found, as_json, lambda: responses.print_checkpoints(found))


def weights(
    ref: JobRef,
    number: Annotated[int, typer.Argument(min=1, help="Number of the checkpoint.")],
    to: Target = Path(),
    as_json: AsJson = False,
) -> None:
    """Download the weights of a checkpoint as a safetensors file, and print its path."""
    from candela.client import Client

    with Client() as client:
        print_path(find_job(client, ref).download_weights(number, to), as_json=as_json)


def lineage(ref: JobRef, as_json: AsJson = False) -> None:
    """Show the datasets, models and checkpoints that a job depends on, and the jobs that made them."""
    from candela.client import Client
    from candela.rendering import lineage_view

    with Client() as client:
        found = find_job(client, ref).lineage()
        print_json_or(found, as_json, lambda: lineage_view.print_lineage(found))


def usage(ref: JobRef, as_json: AsJson = False) -> None:
    """Show processor time, memory, waiting time and throughput of a training."""
    from candela.client import Client
    from candela.rendering import comparison

    with Client() as client:
        series = find_job(client, ref).usage()
        print_json_or(series, as_json, lambda: comparison.print_usage(series))
