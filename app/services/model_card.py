"""Writes the model card of a version: what it is, how it was trained and how good it is, in Markdown."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from core.db.tables import ModelVersionRow
from core.resizing import ResizePolicy

MAX_CLASSES = 100
"""Classes that a card names."""
_SPECIAL = re.compile(r"[\\`*_\[\]<>|#]")


def build_model_card(row: ModelVersionRow, description: str | None, environment: Mapping[str, Any]) -> str:
    """Return the card of a version.

    Args:
        row: the version.
        description: its description, which is Markdown.
        environment: what is known of the environment of its training; empty if its job was deleted.
    """
    date = row.created_at.date().isoformat()
    blocks = [
        f"# {row.name}, version {row.version}",
        f"A {row.bundle['task']} model with {row.num_parameters:,} parameters, registered on {date}.",
        *([] if not description else [description.strip()]),
        "## Model",
        "\n".join(_list_model_lines(row)),
        "## Training",
        "\n".join(_list_training_lines(row)),
    ]
    if environment:
        fields = [f"- {_format_name(name)}: {_escape(value)}" for name, value in environment.items()]
        blocks += ["## Environment", "\n".join(fields)]
    if row.metrics:
        rows = [f"| {_format_name(name)} | {_format_number(value)} |" for name, value in row.metrics.items()]
        blocks += ["## Metrics", "\n".join(["| metric | value |", "|---|--:|", *rows])]
    return "\n\n".join(blocks) + "\n"


def _list_model_lines(row: ModelVersionRow) -> Iterator[str]:
    bundle: dict[str, Any] = row.bundle
    yield f"- Architecture: {_escape(bundle['architecture']['name'])}"
    kind = "columns" if bundle.get("table") else "image"
    resize = "" if bundle.get("table") else f", resized with `{ResizePolicy.from_dict(bundle).mode}`"
    yield f"- Input: {kind} {' x '.join(str(size) for size in bundle['image_shape'])}{resize}"
    if bundle["classes"]:
        names = ", ".join(_escape(name) for name in bundle["classes"][:MAX_CLASSES])
        more = len(bundle["classes"]) - MAX_CLASSES
        yield f"- Classes: {names}{f' and {more:,} more' if more > 0 else ''}"
    yield f"- Weights: sha256 {row.sha256}"


def _list_training_lines(row: ModelVersionRow) -> Iterator[str]:
    if row.dataset:
        dataset = row.dataset
        yield f"- Dataset: {dataset['name']}, version {dataset['version']} (content {dataset['content_hash']})"
    yield f"- Job: {row.job_id}"
    spec: dict[str, Any] = row.spec
    if spec.get("epochs"):
        yield f"- Epochs: {spec['epochs']}, batch size {spec['batch_size']}, seed {spec['seed']}"


def _format_name(name: str) -> str:
    return _escape(name.replace("_", " "))


def _format_number(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, int | float) else str(value)


def _escape(value: object) -> str:
    """Return a value as text in one line, in which no character has a meaning in Markdown."""
    return _SPECIAL.sub(r"\\\g<0>", " ".join(str(value).split()))
