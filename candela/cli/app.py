"""Defines the commands of `candela`. To start quickly, each command imports its modules when it is called."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from candela.cli.compare import annotate, compare, curves, jobs, usage
from candela.cli.dataset_versions import add_version_commands
from candela.cli.datasets import AsJson, datasets_app
from candela.cli.extend import JobId, extend
from candela.cli.models import models_app
from candela.cli.samples import list_samples
from candela.cli.watch import watch
from candela.errors import CandelaError
from candela.installation import require_server

if TYPE_CHECKING:
    from candela.client import Client
    from candela.jobs import Job

app = typer.Typer(
    help="Train and serve neural networks over HTTP.\n\n"
    "Set CANDELA_URL to the URL of the server (default: http://127.0.0.1:8000) and CANDELA_API_KEY to your API key.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
datasets_app.command("samples")(list_samples)
add_version_commands(datasets_app)
app.add_typer(datasets_app, name="datasets")
app.command()(watch)
for command in (extend, jobs, annotate, compare, curves, usage):
    app.command()(command)
app.add_typer(models_app, name="models")

Home = Annotated[Path, typer.Option(envvar="CANDELA_HOME", help="Folder for all files of the service.")]


@app.command()
def up(
    host: Annotated[str, typer.Option(envvar="CANDELA_HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(envvar="CANDELA_PORT", min=0, max=65535, help="Port to listen on; 0 selects a free port.")
    ] = 8000,
    home: Home = Path("var"),
    workers: Annotated[
        int | None, typer.Option(min=1, help="Maximum concurrent training jobs (default: CANDELA_SLOTS, else 1).")
    ] = None,
    http: Annotated[
        int | None, typer.Option(min=1, help="Number of HTTP processes (default: CANDELA_HTTP_PROCESSES, else 1).")
    ] = None,
) -> None:
    """Run the service on this machine until Ctrl-C or SIGTERM. Print `ready http://…` when it accepts requests."""
    require_server()
    from candela.components import UpOptions
    from candela.up import run_service

    run_service(UpOptions(home=home, host=host, port=port, workers=workers, http=http), os.environ)


@app.command()
def demo(
    home: Annotated[Path | None, typer.Option(help="Home folder of the demo (default: a temporary folder).")] = None,
) -> None:
    """Start the service, train a network on real images, predict unseen images, and stop the service."""
    require_server()
    from candela.demo import run_demo

    run_demo(home)


@app.command()
def submit(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="Job spec as YAML or JSON; - reads standard input.")],
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show the progress until the job ends.")] = False,
    as_json: AsJson = False,
    key: Annotated[
        str | None, typer.Option("--idempotency-key", help="Requests with the same key and spec return the same job.")
    ] = None,
) -> None:
    """Submit a job. The exit status is 0 if the job was accepted; with --watch, only if the job succeeded."""
    from candela.rendering.live_view import follow_job
    from candela.specs import read_spec

    with _create_client() as client:
        job = client.jobs.submit(read_spec(spec), idempotency_key=key)
        if watch:
            follow_job(job, quiet=as_json)
        _print_job(job, as_json=as_json)
        if watch:
            job.raise_for_failure()


@app.command()
def show(job_id: JobId, as_json: AsJson = False) -> None:
    """Show the state, progress, metrics, failure and history of a job."""
    with _create_client() as client:
        _print_job(client.jobs.get(job_id), as_json=as_json)


@app.command()
def cancel(
    job_id: JobId,
    force: Annotated[bool, typer.Option("--force", help="Cancel at once, without writing a last checkpoint.")] = False,
) -> None:
    """Cancel a job. Its checkpoints are retained."""
    with _create_client() as client:
        _print_state(client.jobs.get(job_id).cancel(force=force))


@app.command()
def priority(job_id: JobId, value: Annotated[int, typer.Argument(metavar="N", min=-1000, max=1000)]) -> None:
    """Set the priority of a queued job. Higher priorities run first; the default is 0."""
    with _create_client() as client:
        _print_state(client.jobs.get(job_id).set_priority(value))


@app.command()
def pause(job_id: JobId) -> None:
    """Pause a job. `candela resume` continues it, with the same results as without a pause."""
    with _create_client() as client:
        _print_state(client.jobs.get(job_id).pause())


@app.command()
def resume(job_id: JobId) -> None:
    """Resume a paused job."""
    with _create_client() as client:
        _print_state(client.jobs.get(job_id).resume())


@app.command()
def finish(job_id: JobId) -> None:
    """Finish a job after the current epoch and register its model."""
    with _create_client() as client:
        _print_state(client.jobs.get(job_id).finish())


@app.command()
def logs(job_id: JobId) -> None:
    """Print the log of a job."""
    with _create_client() as client:
        sys.stdout.write(client.jobs.get(job_id).logs())


@app.command()
def metrics(
    job_id: JobId,
    name: Annotated[str | None, typer.Option(help="Show only this metric, for example accuracy.")] = None,
    split: Annotated[str | None, typer.Option(help="Show only this split: train, valid or test.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the last, lowest and highest value of each metric of a job, and its curve as a sparkline."""
    from candela.rendering import responses as render

    with _create_client() as client:
        series = client.jobs.get(job_id).metrics(name=name, split=split, max_points=500)
        render.print_json_or(series, as_json, lambda: render.print_series(series))


@app.command()
def artifacts(job_id: JobId, as_json: AsJson = False) -> None:
    """List the artifacts of a job."""
    from candela.rendering import responses as render

    with _create_client() as client:
        files = client.jobs.get(job_id).artifacts()
        render.print_json_or(files, as_json, lambda: render.print_artifacts(files))


@app.command()
def download(
    job_id: JobId,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of an artifact.")],
    to: Annotated[Path, typer.Argument(metavar="PATH", help="Target file or folder.")] = Path(),
) -> None:
    """Download an artifact of a job and print its path."""
    with _create_client() as client:
        print(client.jobs.get(job_id).download_artifact(name, to))


@app.command()
def workers(as_json: AsJson = False) -> None:
    """List the workers with their last heartbeats, devices and jobs."""
    from candela.rendering import responses as render

    with _create_client() as client:
        listed_workers = client.system()["workers"]
        render.print_json_or(listed_workers, as_json, lambda: render.print_workers(listed_workers))


@app.command()
def predict(
    ref: Annotated[str, typer.Argument(metavar="REF", help="Model: name, name@3 (a version) or name@alias.")],
    images: Annotated[list[Path], typer.Argument(metavar="FILE...", exists=True, dir_okay=False)],
    top_k: Annotated[int, typer.Option(min=1, help="Number of classes to show per prediction.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Predict images, or the rows of a .csv file. The exit status is 1 if an image or a row is invalid."""
    from candela.csv_rows import SUFFIXES, read_rows
    from candela.rendering import responses as render

    is_table = len(images) == 1 and images[0].name.lower().endswith(SUFFIXES)
    rows = read_rows(images[0]) if is_table else []
    names = [f"row {number}" for number in range(1, len(rows) + 1)] or [path.name for path in images]
    with _create_client() as client:
        response = (
            client.models.predict_rows(ref, rows, top_k=top_k)
            if rows
            else client.models.predict(ref, images, top_k=top_k)
        )
        render.print_json_or(response, as_json, lambda: render.print_predictions(response, names))
        if any("error" in prediction for prediction in response["predictions"]):
            raise typer.Exit(1)


@app.command()
def doctor(home: Home = Path("var")) -> None:
    """Check whether the service can run here: torch, device, numerics, database, queue and storage."""
    require_server()
    from candela.doctor import run_checks

    if not run_checks(home):
        raise typer.Exit(1)


def main() -> NoReturn:
    """Run a command. If it fails, print the error in a few lines and exit with status 1."""
    try:
        app()
    except (CandelaError, TimeoutError) as error:
        _exit_with_error(str(error))
    except OSError as error:
        _exit_with_error(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    sys.exit(0)


def _create_client() -> "Client":
    from candela.client import Client

    return Client()


def _print_job(job: "Job", *, as_json: bool) -> None:
    from candela.rendering import responses as render

    render.print_json_or(job.response, as_json, lambda: render.print_job(job))


def _print_state(job: "Job") -> None:
    print(f"{job.id} {job.state}")


def _exit_with_error(text: str) -> NoReturn:
    from candela.redaction import redact_credentials

    print(f"candela: {redact_credentials(text)}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    main()
