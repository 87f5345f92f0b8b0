"""Renders one model, one of its versions, and variants."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.text import Text

from candela.rendering import terminal
from candela.rendering.formats import (
    MINUTES,
    format_metric,
    format_metrics,
    format_number,
    format_time,
    sort_metrics,
    wrap_parts,
)
from candela.rendering.terminal import create_table, print_table

INDENT = 15  # of the values


def print_model(model: Mapping[str, Any]) -> None:
    """Print the newest versions of a model, with their aliases and metrics."""
    print_versions(model["versions"], model["aliases"])
    if model.get("versions_cursor"):
        terminal.console.print(f"older versions: candela models versions {model['name']}", style="dim")


def print_versions(versions: Sequence[Mapping[str, Any]], aliases: Mapping[str, int] | None = None) -> None:
    """Print versions of a model, with their aliases and metrics."""
    table = create_table("VERSION", "ALIASES", "PARAMETERS", "CREATED", "METRICS")
    for version in versions:
        own = [alias for alias, number in (aliases or {}).items() if number == version["version"]]
        names = (str(version["version"]), escape(", ".join(own)), f"{version['num_parameters']}")
        created = format_time(version["created_at"], MINUTES)
        table.add_row(*names, created, format_metrics(version["metrics"]))
    print_table(table, "no versions")


def print_model_version(version: Mapping[str, Any]) -> None:
    """Print one version: its origin, input, classes, metrics and variants."""
    title = Text.assemble((f"{version['name']}@{version['version']}", "bold"), f"  {', '.join(version['aliases'])}")
    title.rstrip()
    terminal.console.print(title)
    table = create_table("", "")
    table.show_header = False
    for name, text in _list_lines(version):
        table.add_row(f"  {name}", escape(text))
    terminal.print_renderable(table)


def _list_lines(version: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    width = max(1, terminal.console.width - INDENT)
    yield "task", version["task"]
    yield "network", f"{version['architecture']['name']}, {version['num_parameters']} parameters"
    yield "input", " x ".join(map(str, version["input"]["image_shape"]))
    if classes := version["classes"]:
        yield "classes", ", ".join(classes[:10]) + ", …" * (len(classes) > 10)
    if version["metrics"]:
        parts = [format_metric(name, version["metrics"][name]) for name in sort_metrics(version["metrics"])]
        yield "metrics", "\n".join(wrap_parts(parts, width))
    if dataset := version["dataset"]:
        yield "dataset", f"{dataset['name']}@{dataset['version']}"
    yield "job", version["job_id"]
    yield "created", format_time(version["created_at"])
    yield "sha256", version["sha256"]
    if variants := version["variants"]:
        yield "variants", ", ".join(variant["format"] for variant in variants)


def print_variants(variants: Sequence[Mapping[str, Any]]) -> None:
    """Print variants with their score and the ratio of their throughput to that of the model."""
    table = create_table("FORMAT", "PRECISION", "BYTES", "SCORE", "BEFORE", "SPEED", "CHOSEN BY")
    for variant in variants:
        scores = (f"{variant['metric']} {format_number(variant['after'])}", format_number(variant["before"]))
        size = str(variant["size_bytes"])
        speed, chosen_by = f"{variant['speed_ratio']:.2f}x", variant.get("chosen_by") or ""
        table.add_row(variant["format"], variant["precision"], size, *scores, speed, chosen_by)
    print_table(table, "no variants")
