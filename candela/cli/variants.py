"""Defines the commands of `candela models` that create, list, export and delete variants."""

from pathlib import Path
from typing import Annotated

import typer

from candela.cli.models import parse_json_options
from candela.cli.options import AsJson, ModelName, Target, Version
from candela.cli.output import exit_unless_succeeded, print_deleted, print_job, print_json_or, print_path, print_state

Format = Annotated[str, typer.Argument(metavar="FORMAT", help="onnx, int8, openvino, torch-compile or torch-export.")]
RequestedFormat = Annotated[
    str,
    typer.Argument(metavar="FORMAT", help="onnx, int8, openvino, torch-compile, torch-export or auto."),
]


def list_variants(
    name: ModelName,
    version: Version,
    format: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help="Show only the variant of this format.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the variants of a version with their size, score and speed."""
    from candela.client import Client
    from candela.rendering import model_view

    with Client() as client:
        if format is None:
            variants = client.models.variants(name, version)
            print_json_or(variants, as_json, lambda: model_view.print_variants(variants))
        else:
            variant = client.models.get_variant(name, version, format)
            print_json_or(variant, as_json, lambda: model_view.print_variants([variant]))


def create_variant(
    name: ModelName,
    version: Version,
    format: RequestedFormat,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option", "-o", metavar="KEY=VALUE", help="Option, for example max_drop=0.01; the value is JSON."
        ),
    ] = None,
    wait: Annotated[bool, typer.Option(help="Wait until the variant is created.")] = True,
    as_json: AsJson = False,
) -> None:
    """Submit a job that creates a variant of a version, and compares it with the model.

    The format auto makes onnx, openvino and int8, and stores the fastest one that is accurate enough and faster than
    the model. If there is none, the job succeeds and stores no variant.

    The exit status is 0 if the job succeeds; with --no-wait, if it was accepted.
    """
    from candela.client import Client
    from candela.rendering.live_view import follow_job

    with Client() as client:
        job = client.models.create_variant(name, version, format, **parse_json_options(option))
        if not wait:
            print_state(job, as_json=as_json)
            return
        follow_job(job, quiet=as_json)
        print_job(job, as_json=as_json)
        exit_unless_succeeded(job)


def delete_variant(name: ModelName, version: Version, format: Format, as_json: AsJson = False) -> None:
    """Delete a variant and its files."""
    from candela.client import Client

    with Client() as client:
        client.models.delete_variant(name, version, format)
        text = f"{name}@{version} variant {format}"
        print_deleted(text, as_json=as_json, name=name, version=version, format=format)


def export_variant(
    name: ModelName,
    version: Version,
    format: Format,
    path: Target = Path(),
    file: Annotated[
        str | None, typer.Option(help="Another file of the variant, as `--json` of variants lists.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Download a version in the format of an existing variant, and print the path of the file."""
    from candela.client import Client

    with Client() as client:
        if file is None:
            target = client.models.export(name, version, format, path)
        else:
            target = client.models.download_variant_file(name, version, format, file, path)
        print_path(target, as_json=as_json)
