"""Defines the command `candela datasets samples`."""

from pathlib import Path
from typing import Annotated

import typer

from candela.cli.options import AsJson, DatasetName, Version
from candela.cli.output import print_json_or


def list_samples(
    name: DatasetName,
    version: Version,
    label: Annotated[str | None, typer.Option("--class", help="List only samples of this class.")] = None,
    split: Annotated[str | None, typer.Option(help="List only samples of this split: train, valid or test.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of samples.")] = 20,
    images: Annotated[
        Path | None, typer.Option(metavar="FOLDER", file_okay=False, help="Also write the images to this folder.")
    ] = None,
    size: Annotated[int | None, typer.Option(min=8, max=1024, help="Longer side of the images in pixels.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the samples of a dataset version with their labels and, for tables, values."""
    from candela.client import Client
    from candela.rendering import responses

    with Client() as client:
        samples = list(client.datasets.samples(name, version, label=label, split=split, limit=limit))
        if images is not None:
            images.mkdir(parents=True, exist_ok=True)
            for sample in samples:
                content = client.datasets.sample_image(name, version, sample["split"], sample["index"], size=size)
                (images / f"{sample['split']}-{sample['index']}.png").write_bytes(content)
        print_json_or(samples, as_json, lambda: responses.print_samples(samples))
