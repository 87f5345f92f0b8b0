"""The whole way in a minute: start the service, upload real pictures, train, predict pictures it never saw, stop."""

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
from candela.live_view import follow
from candela.render import prediction_text
from candela.sample_digits import DigitImage, load_scans, write_archive
from candela.types import Prediction, Series
from core.parent_death import die_with_parent

NAME = "scanned-digits"
MIN_VALID_ACCURACY = 0.97
MIN_HELD_OUT_ACCURACY = 0.90  # the held-out scans are by writers of whom it has seen nothing
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
    "callbacks": [{"name": "keep_best", "monitor": "valid_loss"}],
}


def run(home: Path | None) -> None:
    """Do all of it, in `home` or a temporary folder.

    Raises:
        CandelaError: a step failed, or the network is not as good as it must be.
    """
    console = Console(highlight=False, soft_wrap=True)
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="candela-demo-") as scratch,
        _service(home or Path(scratch) / "home", console) as url,
        Client(url) as client,
    ):
        _walk(client, Path(scratch), console)
        console.print(f"Docs of the API: [bold]{url}/docs[/bold] while it runs; `make up` keeps a service running")
    console.print(f"[green]All done[/green] in {time.monotonic() - started:.0f} s; the service is stopped again.")


def _walk(client: Client, scratch: Path, console: Console) -> None:
    train, held_out = load_scans()
    _upload(client, write_archive(train, scratch / "digits.zip"), console)
    job = client.jobs.submit(SPEC)
    console.print(f"Job {job.id}: a batch-norm convnet on {len(train)} scanned digits, {SPEC['epochs']} epochs")
    follow(job, console=console)
    job.check()
    accuracy = _final_accuracy(job)
    console.print(f"Final validation accuracy: [bold]{accuracy:.4f}[/bold]")
    _require(accuracy >= MIN_VALID_ACCURACY, f"validation accuracy {accuracy:.4f} is under {MIN_VALID_ACCURACY}")
    _draw_curves(job.metrics(), CURVE)
    console.print(f"Learning curves: {CURVE.absolute()}")
    _predict(client, job, held_out, console)


def _upload(client: Client, archive: Path, console: Console) -> None:
    version = client.datasets.add(NAME, archive)
    version = client.datasets.wait(NAME, version["version"], timeout_s=120)
    _require(version["state"] == "ready", f"the import of the pictures failed: {version['failure']}")
    console.print(f"Uploaded {version['num_samples']} pictures as dataset {NAME}, version {version['version']}")


def _final_accuracy(job: Job) -> float:
    """Of the weights that were registered: those of the best epoch."""
    _require("valid_accuracy" in job.latest_metrics, f"no validation accuracy, only {sorted(job.latest_metrics)}")
    return float(job.latest_metrics["valid_accuracy"])


def _predict(client: Client, job: Job, scans: Sequence[DigitImage], console: Console) -> None:
    model = job.model
    _require(model is not None, "the job registered no model")
    ref = f"{model['name']}@{model['version']}" if model else ""
    answer = client.models.predict(ref, [scan.png() for scan in scans], top_k=3)
    predictions = answer["predictions"]
    right = sum(p.get("label") == str(scan.label) for scan, p in zip(scans, predictions, strict=True))
    console.print(f"Predicted {len(scans)} pictures that were never sent before, by {ref}: {right} right.")
    console.print("The first two, and the one it is least sure of:")
    for number in (0, 1, min(range(len(scans)), key=lambda n: predictions[n].get("probability", 0.0))):
        console.print(_side_by_side(scans[number], predictions[number]))
    _require(right >= MIN_HELD_OUT_ACCURACY * len(scans), f"only {right} of {len(scans)} predictions are right")


def _side_by_side(scan: DigitImage, prediction: Prediction) -> Columns:
    answer = Text.assemble("\n\n", prediction_text(prediction), f"\n\n  it is a {scan.label}")
    return Columns([Panel(scan.drawn(), expand=False), answer], padding=(0, 2))


def _draw_curves(curves: Sequence[Series], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    names = [name for name in ("loss", "accuracy") if any(curve["name"] == name for curve in curves)]
    _require(bool(names), "the job has no curves")
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
def _service(home: Path, console: Console) -> Iterator[str]:
    """`candela up` on a free port, while it lasts."""
    command = die_with_parent([sys.executable, "-m", "candela", "up", "--home", str(home), "--port", "0"])
    with console.status("Starting the service …"):
        service = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, process_group=0)  # noqa: S603 - ours
        url = _ready_url(service)
    console.print(f"The service is ready at {url}, its files are in {home}")
    try:
        yield url
    finally:
        service.terminate()
        service.wait()


def _ready_url(service: "subprocess.Popen[str]") -> str:
    assert service.stdout is not None  # noqa: S101 - piped above
    try:
        for line in service.stdout:
            if line.startswith("ready "):
                return line.split()[1]
    except BaseException:
        service.terminate()
        service.wait()
        raise
    raise CandelaError(f"the service did not start (status {service.wait()})")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise CandelaError(otherwise)
