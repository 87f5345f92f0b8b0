"""The command line: every command is a few lines over the SDK. Imports wait until a command needs them."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from candela.cli_datasets import AsJson, datasets_app
from candela.errors import CandelaError

if TYPE_CHECKING:
    from candela.client import Client
    from candela.jobs import Job

app = typer.Typer(
    help="Train convolutional networks over HTTP, and serve them.\n\n"
    "CANDELA_URL and CANDELA_API_KEY choose the server (http://127.0.0.1:8000 unless set).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(datasets_app, name="datasets")

JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id.")]
Home = Annotated[Path, typer.Option(envvar="CANDELA_HOME", help="Where everything is kept.")]


@app.command()
def up(
    host: Annotated[str, typer.Option(envvar="CANDELA_HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="CANDELA_PORT", min=0, max=65535, help="0 takes a free one.")] = 8000,
    home: Home = Path("var"),
    workers: Annotated[int | None, typer.Option(min=1, help="Trainings at a time (CANDELA_SLOTS, else 1).")] = None,
    http: Annotated[
        int | None, typer.Option(min=1, help="Processes that answer HTTP (CANDELA_HTTP_PROCESSES, else 1).")
    ] = None,
) -> None:
    """Run the whole service on this machine until Ctrl-C or SIGTERM; prints `ready http://…` when it is."""
    from candela.components import UpOptions
    from candela.up import run

    run(UpOptions(home=home, host=host, port=port, workers=workers, http=http), os.environ)


@app.command()
def demo(
    home: Annotated[
        Path | None, typer.Option(help="Keep the demo's service here; a temporary folder unless given.")
    ] = None,
) -> None:
    """Start the service, train on real pictures, predict pictures it never saw, and stop the service again."""
    from candela.demo import run

    run(home)


@app.command()
def submit(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="A job as YAML or JSON; - reads standard input.")],
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow the job until it ends.")] = False,
    as_json: AsJson = False,
    key: Annotated[
        str | None, typer.Option("--idempotency-key", help="The same key and spec give the same job.")
    ] = None,
) -> None:
    """Post a job. Exit status 0 means: accepted; with --watch: succeeded."""
    from candela.live_view import follow
    from candela.specs import read_spec

    with _client() as client:
        job = client.jobs.submit(read_spec(spec), idempotency_key=key)
        if watch:
            follow(job, quiet=as_json)
        _print_job(job, as_json=as_json)
        if watch:
            job.check()


@app.command()
def jobs(
    state: Annotated[str | None, typer.Option(help="Only jobs in this state.")] = None,
    name: Annotated[str | None, typer.Option(help="Only jobs of this name.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    from candela import render

    with _client() as client:
        found = list(client.jobs.list(state=state, name=name, limit=limit))
        render.json_or([job.answer for job in found], as_json, lambda: render.jobs(found))


@app.command()
def show(job_id: JobId, as_json: AsJson = False) -> None:
    """Show one job: its state, progress, metrics, failure and history."""
    with _client() as client:
        _print_job(client.jobs.get(job_id), as_json=as_json)


@app.command()
def watch(job_id: JobId) -> None:
    """Follow a job until it ends. Exit status 0 only if it succeeded."""
    from candela.live_view import follow

    with _client() as client:
        job = client.jobs.get(job_id)
        follow(job)
        _print_job(job, as_json=False)
        job.check()


@app.command()
def cancel(
    job_id: JobId, force: Annotated[bool, typer.Option("--force", help="At once, without a last checkpoint.")] = False
) -> None:
    """Cancel a job; what it has learnt so far is kept as checkpoints."""
    with _client() as client:
        _say(client.jobs.get(job_id).cancel(force=force))


@app.command()
def priority(job_id: JobId, value: Annotated[int, typer.Argument(metavar="N", min=-1000, max=1000)]) -> None:
    """Move a job in the queue: those of a higher priority are taken first, 0 is usual."""
    with _client() as client:
        _say(client.jobs.get(job_id).prioritise(value))


@app.command()
def pause(job_id: JobId) -> None:
    """Pause a job; `resume` goes on as if it never had been."""
    with _client() as client:
        _say(client.jobs.get(job_id).pause())


@app.command()
def resume(job_id: JobId) -> None:
    """Let a paused job go on."""
    with _client() as client:
        _say(client.jobs.get(job_id).resume())


@app.command()
def finish(job_id: JobId) -> None:
    """End a job after this epoch and register what it has learnt."""
    with _client() as client:
        _say(client.jobs.get(job_id).finish())


@app.command()
def logs(job_id: JobId) -> None:
    """Print a job's log lines."""
    with _client() as client:
        sys.stdout.write(client.jobs.get(job_id).logs())


@app.command()
def metrics(
    job_id: JobId,
    name: Annotated[str | None, typer.Option(help="Only this metric, for example accuracy.")] = None,
    split: Annotated[str | None, typer.Option(help="train, valid or test.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show a job's curves: the last value, the best ones, and their course."""
    from candela import render

    with _client() as client:
        series = client.jobs.get(job_id).metrics(name=name, split=split, max_points=500)
        render.json_or(series, as_json, lambda: render.series(series))


@app.command()
def artifacts(job_id: JobId, as_json: AsJson = False) -> None:
    """List the files that a job has left."""
    from candela import render

    with _client() as client:
        found = client.jobs.get(job_id).artifacts()
        render.json_or(found, as_json, lambda: render.artifacts(found))


@app.command()
def download(
    job_id: JobId,
    name: Annotated[str, typer.Argument(metavar="NAME", help="One of those that `artifacts` lists.")],
    to: Annotated[Path, typer.Argument(metavar="PATH", help="A file or folder.")] = Path(),
) -> None:
    """Download a file that a job has left; prints its path."""
    with _client() as client:
        print(client.jobs.get(job_id).download(name, to))


@app.command()
def models(as_json: AsJson = False) -> None:
    """List the registered models."""
    from candela import render

    with _client() as client:
        found = client.models.list()
        render.json_or(found, as_json, lambda: render.models(found))


@app.command()
def workers(as_json: AsJson = False) -> None:
    """List the workers: when they were heard of, what they have and do, whether they still take work."""
    from candela import render

    with _client() as client:
        found = client.system()["workers"]
        render.json_or(found, as_json, lambda: render.workers(found))


@app.command()
def predict(
    ref: Annotated[str, typer.Argument(metavar="REF", help="name, name@3 or name@alias")],
    images: Annotated[list[Path], typer.Argument(metavar="FILE...", exists=True, dir_okay=False)],
    top_k: Annotated[int, typer.Option(min=1, help="How many classes to show.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Ask a model what is in pictures, or about the rows of a .csv. Exit status 1 if any could not be read."""
    from candela import render
    from candela.csv_rows import read_rows

    is_table = len(images) == 1 and images[0].suffix.lower() in {".csv", ".tsv"}
    rows = read_rows(images[0]) if is_table else []
    names = [f"row {number}" for number in range(1, len(rows) + 1)] or [path.name for path in images]
    with _client() as client:
        answer = (
            client.models.predict_rows(ref, rows, top_k=top_k)
            if rows
            else client.models.predict(ref, images, top_k=top_k)
        )
        render.json_or(answer, as_json, lambda: render.predictions(answer, names))
        if any("error" in prediction for prediction in answer["predictions"]):
            raise typer.Exit(1)


@app.command()
def doctor(home: Home = Path("var")) -> None:
    """Check torch, device, numerics, database, queue and storage: one line each."""
    from candela.doctor import examine

    if not examine(home):
        raise typer.Exit(1)


def main() -> NoReturn:
    """Run a command; what goes wrong is told in a line or a few, with exit status 1."""
    try:
        app()
    except (CandelaError, TimeoutError) as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    sys.exit(0)


def _client() -> "Client":
    from candela.client import Client

    return Client()


def _print_job(job: "Job", *, as_json: bool) -> None:
    from candela import render

    render.json_or(job.answer, as_json, lambda: render.job(job))


def _say(job: "Job") -> None:
    print(f"{job.id} {job.state}")


def _fail(text: str) -> NoReturn:
    print(f"candela: {text}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    main()
