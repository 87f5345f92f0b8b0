"""Defines the commands of `candela models`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from candela.cli.options import AsJson, ModelName, OptionalVersion, TagFilter, Target, Version, parse_pairs
from candela.cli.output import exit_unless_succeeded, print_job, print_json, print_json_or, print_path


def list_models(
    context: typer.Context,
    tag: TagFilter = None,
    as_json: AsJson = False,
) -> None:
    """List the registered models."""
    from candela.client import Client
    from candela.rendering import responses

    if context.invoked_subcommand is not None:
        return
    with Client() as client:
        listed_models = client.models.list(tag=tag)
        print_json_or(listed_models, as_json, lambda: responses.print_models(listed_models))


def show_model(
    name: ModelName,
    version: OptionalVersion = None,
    as_json: AsJson = False,
) -> None:
    """Show the newest versions and the aliases of a model, or one version with its metrics and origin."""
    from candela.client import Client
    from candela.rendering import model_view

    with Client() as client:
        if version is None:
            model = client.models.get(name)
            print_json_or(model, as_json, lambda: model_view.print_model(model))
        else:
            found = client.models.get_version(name, version)
            print_json_or(found, as_json, lambda: model_view.print_model_version(found))


def show_lineage(name: ModelName, version: Version, as_json: AsJson = False) -> None:
    """Show the jobs, datasets, models and checkpoints that a version depends on."""
    from candela.client import Client
    from candela.rendering import lineage_view

    with Client() as client:
        lineage = client.models.lineage(name, version)
        print_json_or(lineage, as_json, lambda: lineage_view.print_lineage(lineage))


def show_card(name: ModelName, version: Version, as_json: AsJson = False) -> None:
    """Print the model card of a version in Markdown."""
    from candela.client import Client

    with Client() as client:
        card = client.models.card(name, version)
        print_json_or({"card": card}, as_json, lambda: print(card, end=""))


def list_versions(
    name: ModelName,
    limit: Annotated[int | None, typer.Option(min=1, help="Maximum number of versions (default: all).")] = None,
    as_json: AsJson = False,
) -> None:
    """List the versions of a model, newest first."""
    from candela.client import Client
    from candela.rendering import model_view

    with Client() as client:
        versions = client.models.versions(name, limit=limit)
        print_json_or(versions, as_json, lambda: model_view.print_versions(versions))


def set_alias(
    name: ModelName,
    alias: Annotated[str, typer.Argument(metavar="ALIAS", help="Alias, for example champion.")],
    version: Version,
    variant: Annotated[str | None, typer.Option(help="Variant of the version, for example onnx.")] = None,
    as_json: AsJson = False,
) -> None:
    """Set an alias to a version of a model or to one of its variants."""
    from candela.client import Client

    with Client() as client:
        model = client.models.set_alias(name, alias, version, variant=variant)
        if as_json:
            print_json(model)
        else:
            print(f"{name}@{alias} = {name}@{version}{f' ({variant})' if variant else ''}")


def download_bundle(name: ModelName, version: Version, path: Target = Path(), as_json: AsJson = False) -> None:
    """Download a version as a zip of its weights and its description, and print its path."""
    from candela.client import Client

    with Client() as client:
        print_path(client.models.download_bundle(name, version, path), as_json=as_json)


def register_model(
    name: Annotated[str, typer.Argument(help="Name of the model. If it exists, it gets a new version.")],
    architecture: Annotated[str, typer.Argument(help="Name of the architecture, for example efficientnet_lite0.")],
    weights: Annotated[
        str, typer.Option(help="pretrained, or file:NAME for a file in the weights folder of the workers.")
    ] = "pretrained",
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", metavar="KEY=VALUE", help="Option of the architecture; the value is JSON."),
    ] = None,
    image_shape: Annotated[
        str | None, typer.Option(metavar="C,H,W", help="Channels, height and width of the images.")
    ] = None,
    classes: Annotated[
        Path | None, typer.Option(metavar="FILE", exists=True, dir_okay=False, help="The class names, one per line.")
    ] = None,
    mean: Annotated[str | None, typer.Option(metavar="M,...", help="Mean of each channel.")] = None,
    std: Annotated[str | None, typer.Option(metavar="S,...", help="Standard deviation of each channel.")] = None,
    resize: Annotated[str | None, typer.Option(metavar="stretch|crop", help="How images are resized.")] = None,
    wait: Annotated[bool, typer.Option(help="Wait until the model is registered.")] = True,
    as_json: AsJson = False,
) -> None:
    """Register a network with existing weights as a model, without training.

    Options that are not set have the values of the published weights. The exit status is 0 if the model is registered;
    with --no-wait, if the request was accepted.
    """
    from candela.client import Client

    fields: dict[str, Any] = {
        "image_shape": _parse_numbers(image_shape, "--image-shape"),
        "classes": None if classes is None else classes.read_text(encoding="utf-8").splitlines(),
        "mean": _parse_numbers(mean, "--mean"),
        "std": _parse_numbers(std, "--std"),
        "resize": resize,
    }
    chosen = {key: value for key, value in fields.items() if value is not None}
    with Client() as client:
        job = client.models.register(name, {"name": architecture, **parse_json_options(option)}, weights, **chosen)
        if wait:
            job.wait()
        model = job.model
        if as_json or (wait and model is None):
            print_job(job, as_json=as_json)
        else:
            print(f"{job.id} {job.state}" if model is None else f"{model['name']}@{model['version']}")
        if wait:
            exit_unless_succeeded(job)


def _parse_numbers(text: str | None, option: str) -> list[float] | None:
    """Parse numbers separated by commas, such as 3,224,224."""
    if text is None:
        return None
    try:
        return [json.loads(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{text!r} must be numbers separated by commas", param_hint=option) from None


def parse_json_options(arguments: list[str] | None) -> dict[str, Any]:
    """Return options of the form KEY=VALUE. A value that is not JSON is a text."""
    options = {}
    for key, value in parse_pairs(arguments, "--option"):
        try:
            options[key] = json.loads(value)
        except ValueError:
            options[key] = value
    return options
