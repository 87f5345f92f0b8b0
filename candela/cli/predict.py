"""Defines the commands that predict, explain and embed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from candela.cli.job_lookup import find_job
from candela.cli.options import AsJson, JobRef, ModelRef
from candela.cli.output import exit_unless_succeeded, print_job, print_json, print_json_or, print_path, print_state

Files = Annotated[
    list[Path],
    typer.Argument(metavar="FILE...", exists=True, dir_okay=False, help="Images, or one .csv or .tsv file with rows."),
]
Augmentation = Annotated[
    str | None,
    typer.Option(
        "--views", help="Average the scores of several views (test-time augmentation): mirror or mirror_and_shift."
    ),
]
Image = Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="Image.")]
TopK = Annotated[int, typer.Option(min=1, help="Number of classes to show per prediction.")]


def predict(
    ref: ModelRef,
    files: Files,
    top_k: TopK = 3,
    variant: Annotated[str | None, typer.Option(help="Variant, for example int8 (default: that of the alias).")] = None,
    test_time_augmentation: Augmentation = None,
    as_json: AsJson = False,
) -> None:
    """Predict images, or the rows of a .csv file. The exit status is 1 if an image or a row is invalid."""
    from candela.client import Client

    rows = _read_table(files)
    options = _build_image_options(rows, test_time_augmentation)
    with Client() as client:
        response = (
            client.models.predict_rows(ref, rows, top_k=top_k, variant=variant)
            if rows
            else client.models.predict(ref, files, top_k=top_k, variant=variant, **options)
        )
        _print_predictions(dict(response), files, rows, as_json=as_json)


def predict_with_job(
    ref: JobRef,
    files: Files,
    checkpoint: Annotated[str, typer.Option(help="latest, or best by the metric that a callback monitors.")] = "latest",
    top_k: TopK = 3,
    test_time_augmentation: Augmentation = None,
    as_json: AsJson = False,
) -> None:
    """Predict with a checkpoint of a job, also while it runs."""
    from candela.client import Client

    rows = _read_table(files)
    options = _build_image_options(rows, test_time_augmentation) | {"checkpoint": checkpoint, "top_k": top_k}
    with Client() as client:
        job = find_job(client, ref)
        response = job.predict_rows(rows, **options) if rows else job.predict(files, **options)
        _print_predictions(dict(response), files, rows, as_json=as_json)


def predict_archive(
    ref: ModelRef,
    archive: Annotated[
        Path, typer.Argument(metavar="ARCHIVE", exists=True, dir_okay=False, help="A zip, tar or tar.gz of images.")
    ],
    top_k: TopK = 3,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Number of images per batch.")] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show the progress until the job ends.")] = False,
    as_json: AsJson = False,
) -> None:
    """Submit a job that predicts all images of an archive. `candela download ID predictions.csv` reads the result."""
    from candela.client import Client
    from candela.rendering.live_view import follow_job

    with Client() as client:
        job = client.models.predict_archive(ref, archive, top_k=top_k, batch_size=batch_size)
        if not watch:
            print_state(job, as_json=as_json)
            return
        follow_job(job, quiet=as_json)
        print_job(job, as_json=as_json)
        exit_unless_succeeded(job)


def explain(
    ref: ModelRef,
    file: Image,
    to: Annotated[
        Path | None, typer.Argument(metavar="[PATH]", help="Target file (default: FILE-heatmap.png).")
    ] = None,
    label: Annotated[str | None, typer.Option(help="Class to explain (default: the most probable class).")] = None,
    as_json: AsJson = False,
) -> None:
    """Write an image with a heatmap of the regions that support a class. With --json, print the heatmap as numbers."""
    from candela.client import Client

    with Client() as client:
        if as_json:
            print_json(client.models.explain(ref, file, label=label))
            return
        target = to or Path(f"{file.stem}-heatmap.png")
        target.write_bytes(client.models.draw_explanation(ref, file, label=label))
        print_path(target, as_json=False)


def embed(
    ref: ModelRef,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", exists=True, dir_okay=False, help="Images.")],
    as_json: AsJson = False,
) -> None:
    """Compute embeddings of images, one line per image. The exit status is 1 if an image is invalid."""
    from candela.client import Client
    from candela.rendering.responses import print_embeddings

    with Client() as client:
        response = client.models.embed(ref, files)
        if as_json:
            print_json(response)
        else:
            print_embeddings(response["embeddings"], [path.name for path in files])
        if any("error" in embedding for embedding in response["embeddings"]):
            raise typer.Exit(1)


def _build_image_options(rows: Sequence[Any], views: str | None) -> dict[str, Any]:
    """Return the options that only predictions of images have, and reject them for rows."""
    if rows and views is not None:
        raise typer.BadParameter(f"requires images, not rows; got {views!r}", param_hint="--views")
    return {} if views is None else {"test_time_augmentation": views}


def _read_table(files: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the rows of a table; an empty list if the files are images."""
    from candela.csv_rows import SUFFIXES, read_rows

    is_table = len(files) == 1 and files[0].name.lower().endswith(SUFFIXES)
    return [dict(row) for row in read_rows(files[0])] if is_table else []


def _print_predictions(
    response: dict[str, Any], files: Sequence[Path], rows: Sequence[object], *, as_json: bool
) -> None:
    from candela.rendering import responses

    predictions = response["predictions"]
    names = [f"row {number}" for number in range(1, len(rows) + 1)] or [path.name for path in files]
    print_json_or(response, as_json, lambda: responses.print_predictions(predictions, names))
    if any("error" in prediction for prediction in predictions):
        raise typer.Exit(1)
