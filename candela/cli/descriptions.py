"""Defines the commands that delete and describe models and datasets."""

from typing import Annotated, Any

import typer

from candela.cli.options import AsJson, DatasetName, ModelName, OptionalVersion
from candela.cli.output import print_deleted, print_json

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before all versions are deleted.")]
Described = Annotated[int | None, typer.Option("--version", min=1, help="Describe this version.")]
Text = Annotated[
    str | None, typer.Option("--description", "-d", help="Description in Markdown; an empty one deletes it.")
]
Tags = Annotated[list[str] | None, typer.Option("--tag", "-t", help="Tag; repeat it for all tags. '' deletes them.")]


def delete_model(name: ModelName, version: OptionalVersion = None, yes: Yes = False, as_json: AsJson = False) -> None:
    """Delete a version of a model with its variants, or the model with all versions and aliases."""
    from candela.client import Client

    with Client() as client:
        _confirm(name, client.models.get(name) if version is None and not yes else None)
        client.models.delete(name, version)
        text = name + ("" if version is None else f" version {version}")
        print_deleted(text, as_json=as_json, name=name, version=version)


def delete_alias(
    name: ModelName,
    alias: Annotated[str, typer.Argument(metavar="ALIAS", help="Name of the alias.")],
    as_json: AsJson = False,
) -> None:
    """Delete an alias of a model. Its version remains."""
    from candela.client import Client

    with Client() as client:
        client.models.delete_alias(name, alias)
        print_deleted(f"{name}@{alias}", as_json=as_json, name=name, alias=alias)


def delete_dataset(
    name: DatasetName, version: OptionalVersion = None, yes: Yes = False, as_json: AsJson = False
) -> None:
    """Delete a version of a dataset and its files, or all versions. Models that were trained on it remain."""
    from candela.client import Client

    with Client() as client:
        _confirm(name, client.datasets.get(name) if version is None and not yes else None)
        client.datasets.delete(name, version)
        text = name + ("" if version is None else f" version {version}")
        print_deleted(text, as_json=as_json, name=name, version=version)


def describe_model(
    name: ModelName, version: Described = None, description: Text = None, tag: Tags = None, as_json: AsJson = False
) -> None:
    """Set the description or the tags of a model, or of a version."""
    from candela.client import Client

    with Client() as client:
        changes = _build_changes(description, tag)
        _print_description(client.models.describe(name, version, **changes), as_json=as_json)


def describe_dataset(
    name: DatasetName, version: Described = None, description: Text = None, tag: Tags = None, as_json: AsJson = False
) -> None:
    """Set the description or the tags of a dataset, or of a version."""
    from candela.client import Client

    with Client() as client:
        changes = _build_changes(description, tag)
        _print_description(client.datasets.describe(name, version, **changes), as_json=as_json)


def _confirm(name: str, resource: Any) -> None:  # noqa: ANN401 - a model or a dataset
    if resource is not None:
        count = len(resource["versions"])
        number = f"more than {count}" if resource.get("versions_cursor") else f"{count}"
        prompt = f"Delete {name} with {number} version{'' if number == '1' else 's'}?"
        typer.confirm(prompt, abort=True, err=True)  # standard output is for the result


def _build_changes(description: str | None, tags: list[str] | None) -> dict[str, Any]:
    changes: dict[str, Any] = {} if description is None else {"description": description or None}
    if tags is not None:
        changes["tags"] = [tag for tag in tags if tag]
    if not changes:
        raise typer.BadParameter("set --description or --tag")
    return changes


def _print_description(resource: Any, *, as_json: bool) -> None:  # noqa: ANN401 - JSON
    if as_json:
        print_json(resource)
        return
    print(resource["description"] or "no description")
    print(f"tags: {', '.join(resource['tags']) or 'none'}")
