"""Shows the progress of a sweep: live in a terminal, otherwise as lines."""

from rich.console import Console, ConsoleRenderable
from rich.live import Live

from candela.client import Client
from candela.errors import WatchInterrupted
from candela.rendering.formats import fit_parts
from candela.rendering.sweep_view import build_sweep_view, format_best, format_counts
from candela.rendering.terminal import create_console
from candela.sweep_types import SweepResponse

RESERVED_LINES = 12  # of the terminal: all but the newest trials
MAX_NEWEST = 10
LINE_WIDTH = 200


def follow_sweep(
    client: Client, sweep_id: str, *, quiet: bool = False, console: Console | None = None
) -> SweepResponse:
    """Show the state, the best trial, the milestones and the newest trials of a sweep until it ends. Return it.

    Raises:
        WatchInterrupted: the user interrupted the view; the sweep continues.
    """
    console = console or create_console(stderr=True, quiet=quiet)
    try:
        if console.is_terminal and not quiet:
            with Live(console=console, auto_refresh=False, transient=True, vertical_overflow="crop") as live:
                for sweep in client.sweeps.watch(sweep_id):
                    live.update(_build_view(client, sweep, console), refresh=True)
        else:
            _print_changes(client, sweep_id, console)
    except KeyboardInterrupt:
        raise WatchInterrupted(
            f"stopped watching; the sweep continues. Watch it again: candela sweeps watch {sweep_id}"
        ) from None
    return client.sweeps.get(sweep_id)


def _build_view(client: Client, sweep: SweepResponse, console: Console) -> ConsoleRenderable:
    limit = max(min(console.height - RESERVED_LINES, MAX_NEWEST), 1)
    newest = list(client.sweeps.trials(sweep["id"], sort="-number", limit=limit))
    return build_sweep_view(client.sweeps.get(sweep["id"]), newest, console.width)


def _print_changes(client: Client, sweep_id: str, console: Console) -> None:
    """Print a line whenever the state, the number of trials or the best trial changes."""
    previous = ""
    for sweep in client.sweeps.watch(sweep_id):
        best = format_best(sweep, LINE_WIDTH)
        line = fit_parts([sweep["state"], format_counts(sweep, LINE_WIDTH), best], LINE_WIDTH)
        if line != previous:
            console.print(line, markup=False, soft_wrap=True)
        previous = line
