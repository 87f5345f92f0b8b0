"""Shows the progress of uploads and downloads in a terminal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from candela.datasets import Datasets
from candela.folder_archive import format_skipped
from candela.rendering.terminal import create_console
from candela.types import DatasetVersion


def upload_dataset(
    datasets: Datasets,
    name: str,
    path: Path,
    options: Mapping[str, Any],
    *,
    wait: bool,
    quiet: bool = False,
    resumable: bool | None = None,
) -> DatasetVersion:
    """Upload a folder, archive or table with a progress bar. With `wait`, also wait until the import has ended."""
    console = create_console(stderr=True, quiet=quiet)
    columns = [TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()]
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("uploading", total=None)
        version = datasets.add(
            name,
            path,
            options=options,
            progress=lambda sent, size: progress.update(task, completed=sent, total=size),
            on_skipped=lambda skipped: console.print(format_skipped(skipped), style="yellow", markup=False),
            resumable=resumable,
            on_resumed=lambda sent, size: console.print(_format_resumed(sent, size), style="dim", markup=False),
        )
        progress.update(task, description="importing")
        return datasets.wait(name, version["version"]) if wait else version


def export_version(datasets: Datasets, name: str, version: int, path: Path) -> Path:
    """Download a version as a zip archive, and show the number of received bytes. Return the path of the archive."""
    console = create_console(stderr=True)
    columns = [TextColumn("exporting"), DownloadColumn(), TransferSpeedColumn()]
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("exporting", total=None)
        return datasets.export(name, version, path, progress=lambda size: progress.update(task, completed=size))


def _format_resumed(sent: int, size: int) -> str:
    return f"continuing an earlier upload at {sent / 1e6:.1f} of {size / 1e6:.1f} MB"
