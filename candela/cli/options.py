"""The arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

JOB_HELP = "Id of the job, the start of it, its name, or latest."

AsJson = Annotated[bool, typer.Option("--json", help="Print the response, or the error, as JSON.")]
ErrorAsJson = Annotated[bool, typer.Option("--json", help="Print an error as JSON.")]
JobRef = Annotated[str, typer.Argument(metavar="ID", help=JOB_HELP)]
JobRefs = Annotated[
    list[str], typer.Argument(metavar="ID...", help="Ids of jobs, the starts of ids, names, or latest.")
]
ModelName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the model.")]
DatasetName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the dataset.")]
Version = Annotated[int, typer.Argument(metavar="VERSION", min=1, help="Number of the version. NAME@3 means NAME 3.")]
OptionalVersion = Annotated[
    int | None,
    typer.Argument(metavar="[VERSION]", min=1, help="Number of a version, also as NAME@3 (default: all versions)."),
]
TagFilter = Annotated[str | None, typer.Option("--tag", "-t", help="List only those with this tag.")]
ModelRef = Annotated[str, typer.Argument(metavar="REF", help="Model: name, name@3 (a version) or name@alias.")]
Target = Annotated[Path, typer.Argument(metavar="[PATH]", help="Target file or folder.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[FIELD=VALUE]...", help="Changes, for example optimizer.lr=0.01 callbacks.0.patience=3."),
]


def parse_pairs(arguments: list[str] | None, option: str) -> list[tuple[str, str]]:
    """Split arguments of the form KEY=VALUE.

    Raises:
        typer.BadParameter: an argument has another form.
    """
    pairs = []
    for text in arguments or ():
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise typer.BadParameter(f"{text!r} must have the form KEY=VALUE", param_hint=option)
        pairs.append((key, value))
    return pairs
