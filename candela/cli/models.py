"""Defines the commands of `candela models`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from candela.cli.datasets import AsJson

models_app = typer.Typer(help="List the registered models, or register one.", invoke_without_command=True)


@models_app.callback()
def models(context: typer.Context, as_json: AsJson = False) -> None:
    """List the registered models."""
    from candela.client import Client
    from candela.rendering import responses as render

    if context.invoked_subcommand is not None:
        return
    with Client() as client:
        listed_models = client.models.list()
        render.print_json_or(listed_models, as_json, lambda: render.print_models(listed_models))


@models_app.command("register")
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
    from candela.rendering import responses as render

    fields: dict[str, Any] = {
        "image_shape": _parse_numbers(image_shape, "--image-shape"),
        "classes": None if classes is None else classes.read_text(encoding="utf-8").splitlines(),
        "mean": _parse_numbers(mean, "--mean"),
        "std": _parse_numbers(std, "--std"),
        "resize": resize,
    }
    chosen = {key: value for key, value in fields.items() if value is not None}
    with Client() as client:
        job = client.models.register(name, {"name": architecture, **_parse_options(option or [])}, weights, **chosen)
        if wait:
            job.wait()
        model = job.model
        text = f"{job.id} {job.state}" if model is None else f"{model['name']}@{model['version']}"
        render.print_json_or(job.response, as_json, lambda: print(text))
        if wait:
            job.raise_for_failure()


def _parse_numbers(text: str | None, option: str) -> list[float] | None:
    """Parse numbers separated by commas, such as 3,224,224."""
    if text is None:
        return None
    try:
        return [json.loads(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{text!r} must be numbers separated by commas", param_hint=option) from None


def _parse_options(arguments: list[str]) -> dict[str, Any]:
    options = {}
    for text in arguments:
        key, equals, value = text.partition("=")
        try:
            options[key] = json.loads(value)
        except ValueError:
            options[key] = value
        if not key or not equals:
            raise typer.BadParameter(f"{text!r} must have the form KEY=VALUE", param_hint="--option")
    return options
