"""Renders the lineage of a model version or a job as a tree: below each thing is what it was made of."""

from collections.abc import Mapping
from typing import Any

from rich.markup import escape
from rich.tree import Tree

from candela.rendering import terminal
from candela.rendering.formats import SHORT_ID, format_metric, sort_metrics

MAX_METRICS = 2
ROLES = {
    "registered": "registered by",
    "dataset": "uses",
    "initial_weights": "initial weights",
    "resumed_from": "resumed from",
    "model": "of the model",
    "wrote": "written by",
    "cloned": "cloned from",
    "edited": "edited from",
    "reproduced": "repeats",
}


def print_lineage(lineage: Mapping[str, Any]) -> None:
    """Print the tree. A thing that several others need is described once."""
    nodes = {node["id"]: node for node in lineage["nodes"]}
    sources: dict[str, list[tuple[str, str]]] = {}
    for edge in lineage["edges"]:
        sources.setdefault(edge["target"], []).append((edge["role"], edge["source"]))
    subject = lineage["nodes"][0]
    tree = Tree(_describe(subject))
    described = {subject["id"]}

    def add_sources(branch: Tree, target: str) -> None:
        for role, source in sources.get(target, []):
            text = f"[dim]{ROLES.get(role, role)}[/dim] "
            if source in described:
                branch.add(f"{text}{escape(source)} [dim](see above)[/dim]")
                continue
            described.add(source)
            add_sources(branch.add(text + _describe(nodes[source])), source)

    add_sources(tree, subject["id"])
    terminal.console.print(tree)
    if not lineage["is_complete"]:
        terminal.console.print("and more ancestors", style="dim")


def _describe(node: Mapping[str, Any]) -> str:
    deleted = " [red]deleted[/red]" if node["is_deleted"] else ""
    return _DESCRIPTIONS.get(node["kind"], lambda unknown: escape(str(unknown["id"])))(node) + deleted


def _describe_model(node: Mapping[str, Any]) -> str:
    values = node["metrics"] or {}
    metrics = [escape(format_metric(name, values[name])) for name in sort_metrics(values)[:MAX_METRICS]]
    name = f"[bold]{escape(node['name'])}@{node['version']}[/bold]"
    return "  ".join([name, *([f"sha256 {node['sha256'][:12]}"] if node["sha256"] else []), *metrics])


def _describe_job(node: Mapping[str, Any]) -> str:
    parts = [f"job [bold]{escape(node['name'] or node['job_id'][:SHORT_ID])}[/bold]"]
    if not node["is_deleted"]:
        count = len(node["attempts"])
        parts += [node["job_id"][:SHORT_ID], node["state"], f"{count} attempt{'' if count == 1 else 's'}"]
    environment = node["environment"]
    names = ("processor", "precision", "torch")
    parts += [escape(str(environment[name])) for name in names if environment.get(name)]
    if environment.get("revision"):
        parts.append(f"commit {environment['revision'][:12]}")
    return "  ".join(parts)


def _describe_dataset(node: Mapping[str, Any]) -> str:
    content = f"  content {node['content_hash'][:12]}" if node["content_hash"] else ""
    return f"dataset [bold]{escape(node['name'])}@{node['version']}[/bold]{content}"


def _describe_checkpoint(node: Mapping[str, Any]) -> str:
    epoch = "" if node["epoch"] is None else f"  epoch {node['epoch']}, step {node['step']}"
    return f"checkpoint [bold]{node['number']}[/bold]{epoch}"


def _describe_weights(node: Mapping[str, Any]) -> str:
    return f"weights [bold]{escape(node['source'])}[/bold]"


_DESCRIPTIONS = {
    "model": _describe_model,
    "job": _describe_job,
    "dataset": _describe_dataset,
    "checkpoint": _describe_checkpoint,
    "weights": _describe_weights,
}
