"""Renders the result of a dry run: the size of the network, and the spec with its defaults as YAML."""

from collections.abc import Mapping
from typing import Any

from rich.text import Text

from candela.rendering import terminal


def print_dry_run(result: Mapping[str, Any]) -> None:
    """Print what a job would do. The spec can be submitted as it is."""
    import yaml

    print(yaml.safe_dump(result["spec"], sort_keys=False, allow_unicode=True, width=10_000), end="")
    console = terminal.create_console(stderr=True)
    outputs = " x ".join(map(str, result["output_shape"]))
    parts = [
        f"{result['num_parameters']} parameters",
        f"output {outputs}",
        f"{result['steps_per_epoch']} steps per epoch",
    ]
    console.print(Text(f"valid: {', '.join(parts)}", style="green"))
    for warning in result["warnings"]:
        console.print(Text(f"warning: {warning}", style="yellow"))
