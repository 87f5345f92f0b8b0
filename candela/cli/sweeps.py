"""Defines the commands that submit, list, follow, control and delete sweeps."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from candela.cli.job_lookup import find_sweep_id
from candela.cli.options import AsJson, Overrides
from candela.cli.output import print_deleted, print_json, print_json_or

if TYPE_CHECKING:
    from candela.sweep_types import SweepResponse

STATES = "running, paused, finishing, succeeded, failed or cancelled"
SweepRef = Annotated[str, typer.Argument(metavar="ID", help="Id of the sweep, the start of it, its name, or latest.")]


def submit_sweep(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="Sweep as YAML or JSON; - reads standard input.")],
    overrides: Overrides = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show the progress until the sweep ends.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Validate the sweep, show its first trials, and submit nothing.")
    ] = False,
    as_json: AsJson = False,
    key: Annotated[
        str | None, typer.Option("--idempotency-key", help="Requests with the same key and spec return the same sweep.")
    ] = None,
) -> None:
    """Submit a sweep, with changes such as budget.trials=20 or base.epochs=9.

    The exit status is 0 if the sweep was accepted; with --watch, only if it succeeded; with --dry-run, if it is valid.
    """
    from candela.cli.overrides import apply_overrides, parse_overrides
    from candela.client import Client
    from candela.rendering.sweep_live_view import follow_sweep
    from candela.rendering.sweep_view import print_plan
    from candela.specs import read_spec

    changed = apply_overrides(read_spec(spec), parse_overrides(overrides or ()))
    with Client() as client:
        if dry_run:
            plan = client.sweeps.dry_run(changed)
            print_json_or(plan, as_json, lambda: print_plan(plan))
            return
        sweep = client.sweeps.create(changed, idempotency_key=key)
        if watch:
            sweep = follow_sweep(client, sweep["id"], quiet=as_json)
            _print_sweep(sweep, as_json=as_json)
            _exit_unless_succeeded(sweep)
        else:
            _print_state(sweep, as_json=as_json)


def list_sweeps(
    context: typer.Context,
    state: Annotated[str | None, typer.Option(help=f"Only sweeps in this state: {STATES}.")] = None,
    name: Annotated[str | None, typer.Option(help="Only sweeps with this name.")] = None,
    sweep_id: Annotated[str | None, typer.Option("--id", help="Only sweeps whose id starts with these digits.")] = None,
    search: Annotated[str | None, typer.Option("--search", "-q", help="Only sweeps with this text.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of sweeps.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List sweeps, newest first."""
    from candela.client import Client
    from candela.rendering.sweep_view import print_sweeps

    if context.invoked_subcommand is not None:
        return
    with Client() as client:
        sweeps = list(client.sweeps.list(id=sweep_id, state=state, name=name, q=search, limit=limit))
        print_json_or(sweeps, as_json, lambda: print_sweeps(sweeps))


def show_sweep(ref: SweepRef, as_json: AsJson = False) -> None:
    """Show the state, the budget, the best trial and the milestones of a sweep."""
    from candela.client import Client

    with Client() as client:
        _print_sweep(client.sweeps.get(find_sweep_id(client, ref)), as_json=as_json)


def watch_sweep(ref: SweepRef, as_json: AsJson = False) -> None:
    """Show the progress of a sweep until it ends. The exit status is 0 only if it succeeded."""
    from candela.client import Client
    from candela.rendering.sweep_live_view import follow_sweep

    with Client() as client:
        sweep = follow_sweep(client, find_sweep_id(client, ref), quiet=as_json)
        _print_sweep(sweep, as_json=as_json)
        _exit_unless_succeeded(sweep)


def list_trials(
    ref: SweepRef,
    sort: Annotated[
        str | None, typer.Option(help="Order: number, score or epochs; -score and so on is descending.")
    ] = None,
    state: Annotated[str | None, typer.Option(help="Only trials in this state, for example failed.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of trials.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the trials of a sweep with their parameters and scores."""
    from candela.client import Client
    from candela.rendering.sweep_view import print_trials

    with Client() as client:
        found = client.sweeps.trials(find_sweep_id(client, ref), sort=sort, state=state, limit=limit)
        trials = list(found)
        print_json_or(trials, as_json, lambda: print_trials(trials))


def add_trial(
    ref: SweepRef,
    parameters: Annotated[
        list[str], typer.Argument(metavar="POINTER=VALUE...", help="All parameters, for example /optimizer/lr=0.01.")
    ],
    as_json: AsJson = False,
) -> None:
    """Add a trial with these parameters to a running sweep."""
    from candela.client import Client
    from candela.rendering.sweep_view import print_trials
    from candela.specs import parse_yaml

    pairs = [text.partition("=") for text in parameters]
    if wrong := [pointer for pointer, equals, _ in pairs if not equals or not pointer.startswith("/")]:
        raise typer.BadParameter(f"{wrong[0]!r} must have the form POINTER=VALUE, for example /optimizer/lr=0.01")
    values = {pointer: parse_yaml(value, pointer) for pointer, _, value in pairs}
    with Client() as client:
        trial = client.sweeps.add_trial(find_sweep_id(client, ref), values)
        print_json_or(trial, as_json, lambda: print_trials([trial]))


def show_importance(ref: SweepRef, as_json: AsJson = False) -> None:
    """Show how much each parameter matters for the score, with the standard deviation of the estimate."""
    from candela.client import Client
    from candela.rendering.sweep_view import print_importance

    with Client() as client:
        report = client.sweeps.importance(find_sweep_id(client, ref))
        print_json_or(report, as_json, lambda: print_importance(report))


def pause_sweep(ref: SweepRef, as_json: AsJson = False) -> None:
    """Pause a sweep and its jobs."""
    from candela.client import Client

    with Client() as client:
        _print_state(client.sweeps.pause(find_sweep_id(client, ref)), as_json=as_json)


def resume_sweep(ref: SweepRef, as_json: AsJson = False) -> None:
    """Resume a paused sweep."""
    from candela.client import Client

    with Client() as client:
        _print_state(client.sweeps.resume(find_sweep_id(client, ref)), as_json=as_json)


def cancel_sweep(ref: SweepRef, as_json: AsJson = False) -> None:
    """Cancel a sweep and its jobs. Its trials and their scores remain."""
    from candela.client import Client

    with Client() as client:
        _print_state(client.sweeps.cancel(find_sweep_id(client, ref)), as_json=as_json)


def finish_sweep(ref: SweepRef, as_json: AsJson = False) -> None:
    """Finish a sweep early and register its best trial."""
    from candela.client import Client

    with Client() as client:
        _print_state(client.sweeps.finish(find_sweep_id(client, ref)), as_json=as_json)


def extend_sweep(
    ref: SweepRef,
    trials: Annotated[int | None, typer.Option(min=1, help="New maximum number of trials.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="New maximum number of epochs of all trials.")] = None,
    hours: Annotated[float | None, typer.Option(help="New maximum number of hours.")] = None,
    as_json: AsJson = False,
) -> None:
    """Give a sweep a larger budget. A sweep that has ended continues."""
    from candela.client import Client

    limits = {"trials": trials, "epochs": epochs, "hours": hours}
    changes = {name: limit for name, limit in limits.items() if limit is not None}
    if not changes:
        raise typer.BadParameter("at least one of --trials, --epochs and --hours is required")
    with Client() as client:
        _print_state(client.sweeps.extend(find_sweep_id(client, ref), changes), as_json=as_json)


def delete_sweep(
    ref: SweepRef,
    jobs: Annotated[bool, typer.Option("--jobs", help="Delete its jobs too, with their checkpoints.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete a sweep that has ended. Its jobs remain without --jobs; models must be deleted before them."""
    from candela.client import Client

    with Client() as client:
        sweep_id = find_sweep_id(client, ref)
        client.sweeps.delete(sweep_id, jobs=jobs)
        print_deleted(f"sweep {sweep_id}", as_json=as_json, id=sweep_id)


def _print_sweep(sweep: "SweepResponse", *, as_json: bool) -> None:
    from candela.rendering.sweep_view import print_sweep

    if as_json:
        print_json(sweep)
    else:
        print_sweep(sweep)


def _print_state(sweep: "SweepResponse", *, as_json: bool) -> None:
    if as_json:
        print_json(sweep)
    else:
        print(f"{sweep['id']} {sweep['state']}")


def _exit_unless_succeeded(sweep: "SweepResponse") -> None:
    if sweep["state"] != "succeeded":
        raise typer.Exit(1)
