"""Defines the commands of `candela weights`."""

from pathlib import Path
from typing import Annotated

import typer

from candela.cli.options import AsJson
from candela.cli.output import print_json


def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="A .pth or .pt file.")],
    architecture: Annotated[
        str, typer.Option("--architecture", "-a", help="Name of the architecture, for example resnet18.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write. Default: FILE with the suffix .safetensors.")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(min=1, help="Side of the images in pixels, for vision transformers.")
    ] = None,
    check: Annotated[
        bool, typer.Option(help="Compare the names and shapes of the tensors with the architecture.")
    ] = True,
    partial: Annotated[
        bool, typer.Option("--partial", help="Leave out tensors that do not fit, instead of an error.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Convert PyTorch weights to a safetensors file that `weights: "file:NAME"` accepts."""
    from candela.weights import convert_weights

    done = convert_weights(file, output, architecture, image_size=image_size, is_checked=check, is_partial=partial)
    if as_json:
        fields = {"path": str(done.path), "num_tensors": done.num_tensors, "num_bytes": done.num_bytes}
        print_json({**fields, "num_outputs": done.num_outputs, "dropped": list(done.dropped)})
        return
    network = "" if done.num_outputs is None else f", {done.channels} channels, {done.num_outputs} outputs"
    print(f"{done.path}: {done.num_tensors} tensors, {done.num_bytes / 2**20:.1f} MiB{network}")
    if done.dropped:
        print(f"Left out: {', '.join(done.dropped[:20])}{' …' if len(done.dropped) > 20 else ''}")
    print("Copy it into the folder `weights` of the workers' datasets folder, then use")
    print(f'  architecture: {{name: {architecture}}}\n  weights: "file:{done.path.name}"')
