"""The commands of `candela datasets`."""

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print the server's answer as JSON.")]
datasets_app = typer.Typer(help="List datasets, or add one.", invoke_without_command=True)


@datasets_app.callback()
def datasets(context: typer.Context, as_json: AsJson = False) -> None:
    """List datasets and the state of their versions."""
    from candela import render
    from candela.client import Client

    if context.invoked_subcommand is not None:
        return
    with Client() as client:
        found = client.datasets.list()
        render.json_or(found, as_json, lambda: render.datasets(found))


@datasets_app.command("add")
def add_dataset(
    name: Annotated[str, typer.Argument(help="The dataset's name; a new version if it exists.")],
    path: Annotated[
        Path, typer.Argument(help="A folder of class/picture, or a zip, tar or tar.gz of one; or a table, .csv.")
    ],
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", metavar="KEY=VALUE", help="How it is read: target=species, missing=impute, …"),
    ] = None,
    wait: Annotated[bool, typer.Option(help="Wait until it is imported.")] = True,
    as_json: AsJson = False,
) -> None:
    """Upload pictures or a table. Exit status 0 means: ready to train on; with --no-wait: accepted."""
    from candela import render
    from candela.client import Client
    from candela.live_view import upload

    with Client() as client:
        version = upload(client.datasets, name, path, _options(option or []), wait=wait, quiet=as_json)
        render.json_or(version, as_json, lambda: render.dataset_version(name, version))
        if version["state"] == "failed":
            raise typer.Exit(1)


def _options(given: list[str]) -> dict[str, list[str]]:
    """What each option is; one that is given several times has several values."""
    options: dict[str, list[str]] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise typer.BadParameter(f"{text!r} is not of the form KEY=VALUE", param_hint="--option")
        options.setdefault(key, []).append(value)
    return options
