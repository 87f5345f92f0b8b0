"""Defines the commands of `candela datasets`."""

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print the response as JSON.")]
datasets_app = typer.Typer(help="List datasets, add one, or show the report of an import.", invoke_without_command=True)


@datasets_app.callback()
def datasets(context: typer.Context, as_json: AsJson = False) -> None:
    """List datasets and the state of their versions."""
    from candela import render
    from candela.client import Client

    if context.invoked_subcommand is not None:
        return
    with Client() as client:
        listed_datasets = client.datasets.list()
        render.print_json_or(listed_datasets, as_json, lambda: render.print_datasets(listed_datasets))


@datasets_app.command("add")
def add_dataset(
    name: Annotated[str, typer.Argument(help="Name of the dataset. If it exists, it gets a new version.")],
    path: Annotated[
        Path,
        typer.Argument(
            help="A folder with class/image files, a zip, tar or tar.gz of such a folder, or a .csv or .csv.gz table."
        ),
    ],
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option", "-o", metavar="KEY=VALUE", help="Import option, for example target=species or missing=impute."
        ),
    ] = None,
    wait: Annotated[bool, typer.Option(help="Wait until the import ends.")] = True,
    as_json: AsJson = False,
) -> None:
    """Upload images or a table. The exit status is 0 if the import succeeds; with --no-wait, if the upload succeeds."""
    from candela import render
    from candela.client import Client
    from candela.live_view import upload_dataset

    with Client() as client:
        version = upload_dataset(client.datasets, name, path, _parse_options(option or []), wait=wait, quiet=as_json)
        render.print_json_or(version, as_json, lambda: render.print_dataset_version(name, version))
        if version["state"] == "failed":
            raise typer.Exit(1)


@datasets_app.command("report")
def report_dataset(
    name: Annotated[str, typer.Argument(help="Name of the dataset.")],
    version: Annotated[int | None, typer.Option(help="Version number. Default: the newest version.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the report of an import: samples, warnings, and equal and near-equal images."""
    from candela import render
    from candela.client import Client
    from candela.errors import CandelaError
    from candela.report_view import print_report

    with Client() as client:
        versions = client.datasets.get(name)["versions"]
        if version is None and not versions:
            raise CandelaError(f"{name} has no versions; a built-in dataset is imported by the first job that uses it")
        report = client.datasets.report(name, versions[0]["version"] if version is None else version)
        render.print_json_or(report, as_json, lambda: print_report(report, render.console))


def _parse_options(arguments: list[str]) -> dict[str, list[str]]:
    """Return a list of values for each option. A repeated option has several values."""
    options: dict[str, list[str]] = {}
    for text in arguments:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise typer.BadParameter(f"{text!r} must have the form KEY=VALUE", param_hint="--option")
        options.setdefault(key, []).append(value)
    return options
