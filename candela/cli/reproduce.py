"""Defines the command `candela reproduce`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from candela.cli.job_lookup import AmbiguousReference, find_job
from candela.cli.options import AsJson, Overrides
from candela.cli.output import exit_unless_succeeded, print_job, print_state
from candela.errors import CandelaError, InvalidRequest, NotFound, ProblemError, Unreachable

if TYPE_CHECKING:
    from candela.cli.overrides import Override
    from candela.client import Client
    from candela.jobs import Job

DEFAULT = "default"
"""The alias of the version that a model name alone refers to."""


def reproduce(
    ref: Annotated[
        str, typer.Argument(metavar="JOB|MODEL@VERSION", help="A job, or a model: NAME@VERSION or NAME@ALIAS.")
    ],
    overrides: Overrides = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show the progress and then the verdict.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train again as a job or a model version was trained, and compare weights, losses, metrics and environments.

    Nothing is registered. Changes such as seed=2 show their effect. The exit status is 0 if the job was accepted; with
    --watch, only if the result is identical or all metrics are equal.
    """
    from candela.cli.overrides import parse_overrides
    from candela.client import Client
    from candela.rendering.live_view import follow_job

    changes = parse_overrides(overrides or ())
    with Client() as client:
        job = _submit(client, ref, changes)
        if not watch:
            print_state(job, as_json=as_json)
            return
        follow_job(job, quiet=as_json)
        print_job(job, as_json=as_json)
        exit_unless_succeeded(job)
        if (job.result or {}).get("verdict") == "different":
            raise typer.Exit(1)


def _submit(client: "Client", ref: str, overrides: Sequence["Override"]) -> "Job":
    """Submit the reproduction of a job, or of a model version if the reference has an `@` or no job has this name.

    The overrides change the spec that the server would submit, which is not that of the original: what the original
    chose is fixed in it, and it has no time limit.
    """
    from candela.cli.overrides import apply_overrides, build_patch

    job = None if "@" in ref else _find_job(client, ref)
    if job is not None:
        spec = job.dry_run_reproduction()["spec"] if overrides else {}
        return job.reproduce(build_patch(spec, apply_overrides(spec, overrides)))
    name, version = _find_version(client, ref)
    spec = client.models.dry_run_reproduction(name, version)["spec"] if overrides else {}
    return client.models.reproduce(name, version, build_patch(spec, apply_overrides(spec, overrides)))


def _find_job(client: "Client", ref: str) -> "Job | None":
    try:
        return find_job(client, ref)
    except (AmbiguousReference, ProblemError, Unreachable):
        raise
    except CandelaError:  # no job matches
        return None


def _find_version(client: "Client", ref: str) -> tuple[str, int]:
    """Return the name and the number of the model version that `name`, `name@3` or `name@alias` refers to.

    As for predictions, a name alone is the version of its alias `default`, else the newest.
    """
    name, _, tag = ref.partition("@")
    if tag.isdecimal():
        return name, int(tag)
    try:
        model = client.models.get(name)
    except (NotFound, InvalidRequest):
        raise CandelaError(f"no {'model' if tag else 'job and no model'} is called {name!r}") from None
    if tag == "latest" or (not tag and DEFAULT not in model["aliases"]):
        return name, model["versions"][0]["version"]
    alias = tag or DEFAULT
    if alias not in model["aliases"]:
        raise CandelaError(f"model {name!r} has no alias {alias!r}; it has {', '.join(model['aliases']) or 'none'}")
    return name, model["aliases"][alias]
