"""Defines the commands of `candela datasets`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from candela.cli.options import AsJson, DatasetName, OptionalVersion, TagFilter, parse_pairs
from candela.cli.output import print_deleted, print_json_or

if TYPE_CHECKING:
    from candela.client import Client
    from candela.types import DatasetVersion

UploadId = Annotated[str, typer.Argument(metavar="ID", help="Id of the upload.")]


def list_datasets(
    context: typer.Context,
    tag: TagFilter = None,
    as_json: AsJson = False,
) -> None:
    """List datasets and the state of their versions."""
    from candela.client import Client
    from candela.rendering import responses

    if context.invoked_subcommand is not None:
        return
    with Client() as client:
        listed_datasets = client.datasets.list(tag=tag)
        print_json_or(listed_datasets, as_json, lambda: responses.print_datasets(listed_datasets))


def show_dataset(
    name: DatasetName,
    version: OptionalVersion = None,
    as_json: AsJson = False,
) -> None:
    """Show the versions of a dataset, or one version."""
    from candela.client import Client
    from candela.rendering import responses

    with Client() as client:
        if version is None:
            dataset = client.datasets.get(name)
            print_json_or(dataset, as_json, lambda: responses.print_datasets([dataset]))
        else:
            found = client.datasets.get_version(name, version)
            print_json_or(found, as_json, lambda: responses.print_dataset_versions(name, [found]))


def create_dataset(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="JSON or YAML with inputs, targets and options; - reads stdin.")
    ],
    name: Annotated[str | None, typer.Option(help="Name of the dataset (default: the field name of the file).")] = None,
    wait: Annotated[bool, typer.Option(help="Wait until the import ends.")] = True,
    as_json: AsJson = False,
) -> None:
    """Create a dataset version from numbers in a file, for example {"name": "xor", "inputs": [[0, 1]], "targets": [1]}.

    The exit status is 0 if the import succeeds; with --no-wait, if the file is accepted.
    """
    from candela.client import Client
    from candela.errors import CandelaError
    from candela.rendering import responses
    from candela.specs import read_spec

    fields = read_spec(file) | ({} if name is None else {"name": name})
    if not isinstance(fields.get("name"), str) or "inputs" not in fields:
        raise CandelaError(f"{file} must have the fields `inputs` and `name`; --name sets the name")
    with Client() as client:
        target = fields.pop("name")
        created = client.datasets.create(target, fields.pop("inputs"), **fields)
        if wait:
            created = client.datasets.wait(target, created["version"])
        print_json_or(created, as_json, lambda: responses.print_dataset_version(target, created))
        if created["state"] == "failed":
            raise typer.Exit(1)


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
    from candela.rendering import responses
    from candela.rendering.import_summary import print_import_report
    from candela.rendering.transfers import upload_dataset

    with Client() as client:
        options = _parse_options(option)
        version = upload_dataset(client.datasets, name, path, options, wait=wait, quiet=as_json, resumable=resumable)
        print_json_or(version, as_json, lambda: responses.print_dataset_version(name, version))
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


def list_uploads(context: typer.Context, as_json: AsJson = False) -> None:
    """List resumable uploads that have not expired."""
    from candela.client import Client
    from candela.rendering import responses

    if context.invoked_subcommand is not None:
        return
    with Client() as client:
        uploads = client.uploads.list()
        print_json_or(uploads, as_json, lambda: responses.print_uploads(uploads))


def show_upload(upload_id: UploadId, as_json: AsJson = False) -> None:
    """Show a resumable upload: its received bytes, its state and its dataset version."""
    from candela.client import Client
    from candela.rendering import responses

    with Client() as client:
        upload = client.uploads.get(upload_id)
        print_json_or(upload, as_json, lambda: responses.print_uploads([upload]))


def delete_upload(upload_id: UploadId, as_json: AsJson = False) -> None:
    """Delete a resumable upload and its bytes. A dataset version that was created from it remains."""
    from candela.client import Client

    with Client() as client:
        client.uploads.delete(upload_id)
        print_deleted(f"upload {upload_id}", as_json=as_json, upload=upload_id)


def _parse_options(arguments: list[str] | None) -> dict[str, list[str]]:
    """Return a list of values for each option. A repeated option has several values."""
    options: dict[str, list[str]] = {}
    for key, value in parse_pairs(arguments, "--option"):
        options.setdefault(key, []).append(value)
    return options
