"""Defines the commands of `candela datasets`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from candela.client import Client
    from candela.types import DatasetVersion

AsJson = Annotated[bool, typer.Option("--json", help="Print the response as JSON.")]
datasets_app = typer.Typer(help="List, add, edit, compare and export datasets.", invoke_without_command=True)


@datasets_app.callback()
def datasets(context: typer.Context, as_json: AsJson = False) -> None:
    """List datasets and the state of their versions."""
    from candela.client import Client
    from candela.rendering import responses as render

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
    resumable: Annotated[
        bool | None,
        typer.Option(
            help="Upload in chunks. If the upload is interrupted, the same command continues it (default: from 32 MiB)."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Upload images or a table, and print the report of the import.

    The exit status is 0 if the import succeeds; with --no-wait, if the upload succeeds.
    """
    from candela.client import Client
    from candela.rendering import responses as render
    from candela.rendering.import_summary import print_import_report
    from candela.rendering.live_view import upload_dataset

    with Client() as client:
        options = _parse_options(option or [])
        version = upload_dataset(client.datasets, name, path, options, wait=wait, quiet=as_json, resumable=resumable)
        render.print_json_or(version, as_json, lambda: render.print_dataset_version(name, version))
        report = None if as_json else _find_report(client, name, version)
        if report is not None:
            print_import_report(report)
        if version["state"] == "failed":
            raise typer.Exit(1)


def _find_report(client: "Client", name: str, version: "DatasetVersion") -> dict[str, Any] | None:
    """Return the report of an import that has ended, or None if there is none."""
    from candela.errors import Conflict

    if version["state"] == "importing":
        return None
    try:
        return client.datasets.report(name, version["version"])
    except Conflict:  # the import failed before it wrote a report
        return None


@datasets_app.command("uploads")
def show_uploads(
    delete: Annotated[str | None, typer.Option(metavar="ID", help="Delete this upload first.")] = None,
    as_json: AsJson = False,
) -> None:
    """List resumable uploads that have not expired."""
    from candela.client import Client
    from candela.rendering import responses as render

    with Client() as client:
        if delete is not None:
            client.uploads.delete(delete)
        uploads = client.uploads.list()
        render.print_json_or(uploads, as_json, lambda: render.print_uploads(uploads))


def _parse_options(arguments: list[str]) -> dict[str, list[str]]:
    """Return a list of values for each option. A repeated option has several values."""
    options: dict[str, list[str]] = {}
    for text in arguments:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise typer.BadParameter(f"{text!r} must have the form KEY=VALUE", param_hint="--option")
        options.setdefault(key, []).append(value)
    return options
