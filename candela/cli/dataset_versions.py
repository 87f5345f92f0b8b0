"""Defines the commands of `candela datasets` that edit, compare, export and report versions."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from candela.cli.options import AsJson, DatasetName, Target, Version
from candela.cli.output import print_json_or, print_path
from candela.errors import CandelaError

if TYPE_CHECKING:
    from candela.types import DatasetVersion

NewestVersion = Annotated[
    int | None, typer.Argument(metavar="[VERSION]", min=1, help="Number of a version (default: the newest).")
]
Base = Annotated[int, typer.Argument(metavar="BASE", min=1, help="Number of the base version.")]
Texts = list[str] | None


def edit(
    name: DatasetName,
    version: Version,
    operations: Annotated[
        Path | None, typer.Option("--file", "-f", help="A YAML or JSON file with a list of operations.")
    ] = None,
    drop_blank: Annotated[bool, typer.Option("--drop-blank", help="Remove images of one color.")] = False,
    drop_conflicts: Annotated[
        bool, typer.Option("--drop-conflicts", help="Remove equal samples of different classes.")
    ] = False,
    drop_duplicates: Annotated[bool, typer.Option("--drop-duplicates", help="Remove copies of samples.")] = False,
    across_splits: Annotated[
        bool, typer.Option("--across-splits", help="Remove only copies of samples in other splits.")
    ] = False,
    drop: Annotated[Texts, typer.Option(metavar="SAMPLE", help="Remove a sample.")] = None,
    move: Annotated[Texts, typer.Option(metavar="SAMPLE=SPLIT", help="Move a sample to a split.")] = None,
    relabel: Annotated[Texts, typer.Option(metavar="SAMPLE=CLASS", help="Change the class of a sample.")] = None,
    rename: Annotated[Texts, typer.Option(metavar="OLD=NEW", help="Rename a class, or merge classes.")] = None,
    drop_class: Annotated[Texts, typer.Option(metavar="CLASS", help="Remove a class.")] = None,
    keep: Annotated[Texts, typer.Option(metavar="CLASS", help="Remove all other classes. Repeatable.")] = None,
    cap: Annotated[int | None, typer.Option(min=1, help="Maximum training samples per class.")] = None,
    new_name: Annotated[str | None, typer.Option("--name", help="Dataset that gets the version.")] = None,
    wait: Annotated[bool, typer.Option(help="Wait until the import ends.")] = True,
    as_json: AsJson = False,
) -> None:
    """Create a version from another version without an upload.

    Operations of the file are applied first, then those of the options, in the order below.

    The exit status is 0 if the import succeeds; with --no-wait, if the edit is accepted.
    """
    listed = _read_operations(operations) if operations else []
    flags = {"drop_blank": drop_blank, "drop_conflicts": drop_conflicts}
    listed += [{"kind": kind} for kind, is_set in flags.items() if is_set]
    if drop_duplicates or across_splits:
        listed.append({"kind": "drop_duplicates", "scope": "across_splits" if across_splits else "all"})
    listed += _build_sample_operations(drop, move, relabel)
    listed += _build_class_operations(rename, drop_class, keep)
    if cap is not None:
        listed.append({"kind": "cap_per_class", "max_samples": cap})
    if not listed:
        raise typer.BadParameter("at least one operation is required, for example --drop-blank")
    _submit_edit(name, version, listed, new_name, wait=wait, as_json=as_json)


def _submit_edit(
    name: str, version: int, operations: list[dict[str, Any]], new_name: str | None, *, wait: bool, as_json: bool
) -> None:
    from candela.client import Client
    from candela.rendering import responses

    with Client() as client:
        target = new_name or name
        created: DatasetVersion = client.datasets.edit(name, version, operations, new_name=new_name)
        if wait:
            created = client.datasets.wait(target, created["version"])
        print_json_or(created, as_json, lambda: responses.print_dataset_version(target, created))
        if created["state"] == "failed":
            raise typer.Exit(1)


def diff(
    name: DatasetName,
    base: Base,
    version: Version,
    base_name: Annotated[str | None, typer.Option(help="Dataset of the base version (default: NAME).")] = None,
    by: Annotated[str, typer.Option(help="content, or names, which is fast for large datasets.")] = "content",
    as_json: AsJson = False,
) -> None:
    """Show what differs between a base version and a version: added, removed, relabelled, moved and changed samples."""
    from candela.client import Client
    from candela.rendering import dataset_comparison

    with Client() as client:
        found = client.datasets.diff(name, base, version, base_name=base_name, by=by)
        print_json_or(found, as_json, lambda: dataset_comparison.print_comparison(found))


def export(name: DatasetName, version: Version, path: Target = Path(), as_json: AsJson = False) -> None:
    """Download a version as a zip archive of PNG files or CSV files, and print its path."""
    from candela.client import Client
    from candela.rendering.transfers import export_version

    with Client() as client:
        print_path(export_version(client.datasets, name, version, path), as_json=as_json)


def report(name: DatasetName, version: NewestVersion = None, as_json: AsJson = False) -> None:
    """Show the import report of a version: counts, duplicates, leaks, conflicts and unreadable files."""
    from candela.client import Client
    from candela.rendering import terminal
    from candela.rendering.import_report import print_report

    with Client() as client:
        versions = [] if version is not None else client.datasets.get(name)["versions"]
        if version is None and not versions:
            raise CandelaError(f"{name} has no versions; a built-in dataset is imported by the first job that uses it")
        found = client.datasets.report(name, versions[0]["version"] if version is None else version)
        print_json_or(found, as_json, lambda: print_report(found, terminal.console))


def preview(
    name: DatasetName,
    version: Version,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Target file.")],
    as_json: AsJson = False,
) -> None:
    """Save the preview of a version as a PNG file, and print its path."""
    from candela.client import Client

    with Client() as client:
        file.write_bytes(client.datasets.preview(name, version))
        print_path(file, as_json=as_json)


def _read_operations(path: Path) -> list[dict[str, Any]]:
    """Return the list of operations in a YAML or JSON file, or in its field `operations`."""
    from candela.specs import read_document

    document = read_document(path)
    listed = document.get("operations") if isinstance(document, dict) else document
    if not isinstance(listed, list) or not all(isinstance(operation, dict) for operation in listed):
        raise CandelaError(f"{path} must contain a list of operations, such as `- kind: drop_blank`")
    return [{field: _convert_numbers(field, value) for field, value in operation.items()} for operation in listed]


def _convert_numbers(field: str, value: Any) -> Any:  # noqa: ANN401 - YAML
    """Return names that YAML reads as integers, such as the class 7, as texts. Other values are returned unchanged."""
    if field == "label" and type(value) is int:
        return str(value)
    if isinstance(value, list):
        return [str(each) if type(each) is int else each for each in value]
    if isinstance(value, dict):
        return {str(key): str(each) for key, each in value.items()}
    return value


def _build_sample_operations(drop: Texts, move: Texts, relabel: Texts) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = [{"kind": "drop_samples", "samples": drop}] if drop else []
    for sample, split in _split_pairs(move, "--move", "SAMPLE=SPLIT"):
        listed.append({"kind": "move_samples", "samples": [sample], "split": split})
    for sample, label in _split_pairs(relabel, "--relabel", "SAMPLE=CLASS"):
        listed.append({"kind": "relabel", "samples": [sample], "label": label})
    return listed


def _build_class_operations(rename: Texts, drop_class: Texts, keep: Texts) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = []
    if pairs := dict(_split_pairs(rename, "--rename", "OLD=NEW")):
        listed.append({"kind": "rename_classes", "classes": pairs})
    if drop_class:
        listed.append({"kind": "drop_classes", "classes": drop_class})
    if keep:
        listed.append({"kind": "keep_classes", "classes": keep})
    return listed


def _split_pairs(texts: Texts, option: str, form: str) -> list[tuple[str, str]]:
    """Split texts at the last equals sign."""
    pairs = []
    for text in texts or ():
        first, equals, second = text.rpartition("=")
        if not equals or not first or not second:
            raise typer.BadParameter(f"{text!r} must have the form {form}", param_hint=option)
        pairs.append((first, second))
    return pairs
