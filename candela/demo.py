"""Runs the demo: starts the service, uploads real images, trains, predicts unseen images, and stops the service."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.columns import Columns
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from candela.client import Client
from candela.errors import CandelaError
from candela.jobs import Job
from candela.live_view import follow_job
from candela.render import format_prediction
from candela.sample_digits import DigitImage, load_digit_images, write_archive
from candela.types import Prediction, Series
from core.parent_death import die_with_parent

NAME = "scanned-digits"
MIN_VALID_ACCURACY = 0.97
MIN_UNSEEN_ACCURACY = 0.90  # lower, because the unseen images are from other writers than the training images
CURVE = Path("learning-curve.png")
SPEC: dict[str, Any] = {
    "name": "demo",
    "model": "digits",
    "dataset": {
        "name": NAME,
        "valid": 0.15,
        "train_transforms": [{"name": "affine", "degrees": 10, "translate": 0.1}],
    },
    "architecture": {"name": "convnet", "channels": [32, 64], "batch_norm": True, "head": [128]},
    "optimizer": {"name": "adamw", "lr": 0.003},
    "schedule": {"name": "one_cycle", "max_lr": 0.01},
    "metrics": ["accuracy"],
    "epochs": 15,
    "batch_size": 64,
    "seed": 777,
    # averaged weights are validated, because batch norm with few steps per epoch makes the others jump
    "callbacks": [{"name": "ema", "decay": 0.95}, {"name": "keep_best", "monitor": "valid_loss"}],
}


def run_demo(home: Path | None) -> None:
    """Run the demo in the folder `home`; default: a temporary folder.

    Raises:
        CandelaError: a step failed, or the accuracy is too low.
    """
    console = Console(highlight=False, soft_wrap=True)
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="candela-demo-") as scratch,
        _run_service(home or Path(scratch) / "home", console) as url,
        Client(url) as client,
    ):
        _train_and_predict(client, Path(scratch), console)
        console.print(f"Dashboard: [bold]{url}[/bold], API documentation: [bold]{url}/docs[/bold]")
        console.print("`make up` starts a service that keeps running")
    console.print(f"[green]Done[/green] in {time.monotonic() - started:.0f} s; the service has stopped.")


def _train_and_predict(client: Client, scratch: Path, console: Console) -> None:
    train, unseen = load_digit_images()
    _upload_archive(client, write_archive(train, scratch / "digits.zip"), console)
    job = client.jobs.submit(SPEC)
    console.print(f"Job {job.id}: a convnet with batch norm on {len(train)} scanned digits, {SPEC['epochs']} epochs")
    follow_job(job, console=console)
    job.check()
    accuracy = _get_final_accuracy(job)
    console.print(f"Final validation accuracy: [bold]{accuracy:.4f}[/bold]")
    _require_condition(
        accuracy >= MIN_VALID_ACCURACY, f"validation accuracy {accuracy:.4f} is below {MIN_VALID_ACCURACY}"
    )
    _draw_curves(job.metrics(), CURVE)
    console.print(f"Learning curves: {CURVE.absolute()}")
    _predict_unseen(client, job, unseen, console)


def _upload_archive(client: Client, archive: Path, console: Console) -> None:
    version = client.datasets.add(NAME, archive)
    version = client.datasets.wait(NAME, version["version"], timeout_s=120)
    _require_condition(version["state"] == "ready", f"the import of the images failed: {version['failure']}")
    console.print(f"Uploaded {version['num_samples']} images as dataset {NAME}, version {version['version']}")


def _get_final_accuracy(job: Job) -> float:
    """Return the validation accuracy of the best epoch, whose weights are registered as the model."""
    _require_condition(
        "valid_accuracy" in job.latest_metrics, f"the job has no validation accuracy, only {sorted(job.latest_metrics)}"
    )
    return float(job.latest_metrics["valid_accuracy"])


def _predict_unseen(client: Client, job: Job, scans: Sequence[DigitImage], console: Console) -> None:
    model = job.model
    _require_condition(model is not None, "the job registered no model")
    ref = f"{model['name']}@{model['version']}" if model else ""
    response = client.models.predict(ref, [scan.encode_png() for scan in scans], top_k=3)
    predictions = response["predictions"]
    num_correct = sum(p.get("label") == str(scan.label) for scan, p in zip(scans, predictions, strict=True))
    console.print(f"Predicted {len(scans)} unseen images with {ref}: {num_correct} correct.")
    console.print("The first two images, and the image with the least certain prediction:")
    for number in (0, 1, min(range(len(scans)), key=lambda n: predictions[n].get("probability", 0.0))):
        console.print(_format_prediction(scans[number], predictions[number]))
    _require_condition(
        num_correct >= MIN_UNSEEN_ACCURACY * len(scans), f"only {num_correct} of {len(scans)} predictions are correct"
    )


def _format_prediction(scan: DigitImage, prediction: Prediction) -> Columns:
    result = Text.assemble("\n\n", format_prediction(prediction), f"\n\n  true label: {scan.label}")
    return Columns([Panel(scan.draw_blocks(), expand=False), result], padding=(0, 2))


def _draw_curves(curves: Sequence[Series], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    names = [name for name in ("loss", "accuracy") if any(curve["name"] == name for curve in curves)]
    _require_condition(bool(names), "the job has no metrics")
    figure, axes = pyplot.subplots(1, len(names), figsize=(5 * len(names), 4), squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        for curve in curves:
            if curve["name"] == name:
                points = curve["points"]
                axis.plot([p["step"] for p in points], [float(p["value"]) for p in points], label=curve["split"])
        axis.set(xlabel="step", title=name)
        axis.grid(alpha=0.3)
        axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


@contextmanager
def _run_service(home: Path, console: Console) -> Iterator[str]:
    """Run `candela up` on a free port while the context is open."""
    command = die_with_parent([sys.executable, "-m", "candela", "up", "--home", str(home), "--port", "0"])
    with console.status("Starting the service …"):
        service = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, process_group=0)  # noqa: S603 - ours
        url = _wait_until_ready(service)
    console.print(f"The service is ready at {url}; its files are in {home}")
    try:
        yield url
    finally:
        service.terminate()
        service.wait()


def _wait_until_ready(service: "subprocess.Popen[str]") -> str:
    assert service.stdout is not None  # noqa: S101 - `stdout` is a pipe
    try:
        for line in service.stdout:
            if line.startswith("ready "):
                return line.split()[1]
    except BaseException:
        service.terminate()
        service.wait()
        raise
    raise CandelaError(f"the service did not start (status {service.wait()})")


def _require_condition(condition: bool, message: str) -> None:
    if not condition:
        raise CandelaError(message)
