"""Defines the command `candela submit`."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from candela.cli.options import AsJson, Overrides
from candela.cli.output import exit_unless_succeeded, print_job, print_json

if TYPE_CHECKING:
    from candela.cli.overrides import Override
    from candela.client import Client


def submit(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="Job spec as YAML or JSON; - reads standard input.")],
    overrides: Overrides = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show the progress until the job ends.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Validate the spec, and submit nothing.")] = False,
    as_json: AsJson = False,
    key: Annotated[
        str | None, typer.Option("--idempotency-key", help="Requests with the same key and spec return the same job.")
    ] = None,
) -> None:
    """Submit a job, with changes of its spec such as optimizer.lr=0.01 or callbacks.0.patience=3.

    Values are YAML; metrics+=f1 appends to a list. The exit status is 0 if the job was accepted; with --watch, only
    if the job succeeded or is paused at a milestone; with --dry-run, if the spec is valid.
    """
    from candela.cli.overrides import parse_overrides
    from candela.client import Client
    from candela.rendering.live_view import follow_job
    from candela.specs import read_spec

    changes, fields = parse_overrides(overrides or ()), read_spec(spec)
    with Client() as client:
        changed = _change_spec(client, fields, changes)
        if dry_run:
            _print_dry_run(client.jobs.dry_run(changed), as_json=as_json)
            return
        job = client.jobs.submit(changed, idempotency_key=key)
        for warning in job.response.get("warnings") or ():
            print(f"warning: {warning}", file=sys.stderr)
        if watch:
            follow_job(job, quiet=as_json)
        print_job(job, as_json=as_json)
        if watch:
            exit_unless_succeeded(job)


def _change_spec(client: "Client", spec: Mapping[str, Any], overrides: Sequence["Override"]) -> dict[str, Any]:
    """Return the spec with the changes. `optimizer.lr=0.01` changes the default optimizer if the spec has none."""
    from candela.cli.overrides import apply_overrides, list_missing_objects

    missing = list_missing_objects(spec, overrides)
    if missing:
        others = [override for override in overrides if override.path[0] not in missing]
        defaults = client.jobs.dry_run(apply_overrides(spec, others))["spec"]
        names = {field: defaults[field].get("name") for field in missing if isinstance(defaults.get(field), Mapping)}
        spec = {**spec, **{field: {"name": name} for field, name in names.items() if name is not None}}
    return apply_overrides(spec, overrides)


def _print_dry_run(result: Mapping[str, Any], *, as_json: bool) -> None:
    from candela.rendering.dry_run import print_dry_run

    if as_json:
        print_json(result)
    else:
        print_dry_run(result)
