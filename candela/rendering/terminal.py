"""The consoles and tables of the command line."""

import os

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

UNLIMITED_WIDTH = 100_000
UNDIVIDED = frozenset(  # columns whose values stay on one line
    {"ID", "TREND", "LAST", "LOWEST", "HIGHEST", "MEAN", "POINTS", "BYTES", "VERSION", "SAMPLES", "CLASSES", "SHAPE"}
    | {"NUMBER", "EPOCH", "STEP", "PARAMETERS", "SPEED", "BEFORE", "SLOTS", "ACTIVE", "SIZE", "RECEIVED"}
    | {"SPLIT", "ADDED", "REMOVED", "RELABELLED", "MOVED", "CHANGED"}
)


def create_console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """Create a console. Lines are limited to the terminal or to COLUMNS; in a file or a pipe they are complete."""
    console = Console(stderr=stderr, quiet=quiet, highlight=False)
    if not console.is_terminal and not os.environ.get("COLUMNS", "").isdigit():
        return Console(stderr=stderr, quiet=quiet, highlight=False, width=UNLIMITED_WIDTH)
    return console


console = create_console()


def is_limited(console: Console) -> bool:
    """Return whether lines must fit into a width."""
    return console.width < UNLIMITED_WIDTH


def get_trend_width() -> int:
    """Return the width of sparklines: less in a narrow terminal, so that the numbers next to them fit."""
    return max(8, min(24, console.width - 60))


def create_table(*headings: str) -> Table:
    """Create a table without lines."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, no_wrap=heading in UNDIVIDED, overflow="fold")
    return table


def print_table(table: Table, when_empty: str) -> None:
    """Print a table, or the text if it has no rows."""
    print_renderable(table if table.row_count else Text(when_empty, style="dim"))


def print_renderable(renderable: RenderableType) -> None:
    """Print a table. In a file or a pipe, its lines have no spaces at their ends."""
    if console.is_terminal:
        console.print(renderable)
        return
    with console.capture() as capture:
        console.print(renderable)
    lines = [line.rstrip() for line in capture.get().splitlines()]
    console.out("\n".join(lines), highlight=False)
