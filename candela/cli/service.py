"""Defines the commands that run the service: on one machine, or as one process of a deployment."""

import contextlib
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from candela.cli.options import AsJson, ErrorAsJson
from candela.cli.output import print_json
from candela.errors import CandelaError
from candela.installation import require_server

if TYPE_CHECKING:
    from core.settings import Settings

Home = Annotated[Path, typer.Option(envvar="CANDELA_HOME", help="Folder for all files of the service.")]


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
    as_json: ErrorAsJson = False,
) -> None:
    """Run the service on this machine until Ctrl-C or SIGTERM. Print `ready http://…` when it accepts requests."""
    require_server()
    from candela.components import UpOptions
    from candela.up import run_service

    run_service(UpOptions(home=home, host=host, port=port, workers=workers, http=http), os.environ)


def demo(
    home: Annotated[Path | None, typer.Option(help="Home folder of the demo (default: a temporary folder).")] = None,
    as_json: ErrorAsJson = False,
) -> None:
    """Start the service, train a network on real images, predict unseen images, and stop the service."""
    require_server()
    from candela.demo import run_demo

    run_demo(home)


def doctor(home: Home = Path("var"), as_json: AsJson = False) -> None:
    """Check whether the service can run here: torch, device, numerics, database, queue and storage."""
    require_server()
    from candela.doctor import iterate_results, run_checks

    if as_json:
        results = list(iterate_results(home))
        print_json([result._asdict() for result in results])
        has_passed = all(result.has_passed for result in results)
    else:
        has_passed = run_checks(home)
    if not has_passed:
        raise typer.Exit(1)


def serve(
    address: Annotated[
        str | None, typer.Argument(metavar="[HOST:PORT]", help="Address (default: CANDELA_HOST and CANDELA_PORT).")
    ] = None,
    as_json: ErrorAsJson = False,
) -> None:
    """Run one API process of a deployment. It requires a migrated database, a queue and storage."""
    require_server()
    if address is None:
        settings = load_settings()
        address = f"[{settings.host}]:{settings.port}" if ":" in settings.host else f"{settings.host}:{settings.port}"
    replace_process("candela.serve", address)


def worker(
    slots: Annotated[
        int | None, typer.Option(min=1, help="Maximum concurrent training jobs (default: CANDELA_SLOTS, else 1).")
    ] = None,
    gpu: Annotated[bool, typer.Option("--gpu", help="Also take jobs that require a GPU.")] = False,
    queues: Annotated[
        str | None,
        typer.Option(help="Queues, separated by commas (default: train,import; with --gpu, also train-gpu)."),
    ] = None,
    as_json: ErrorAsJson = False,
) -> None:
    """Run one worker of a deployment. It trains jobs and imports datasets."""
    require_server()
    from candela.components import build_worker_arguments

    if slots is not None:
        os.environ["CANDELA_SLOTS"] = str(slots)
    names = queues or ("train-gpu,train,import" if gpu else "train,import")
    replace_process("worker", *build_worker_arguments(load_settings().slots, names))


def maintenance(as_json: ErrorAsJson = False) -> None:
    """Run the maintenance loop of a deployment. It restarts lost jobs and deletes orphaned files."""
    require_server()
    replace_process("worker.maintenance")


def migrate(as_json: ErrorAsJson = False) -> None:
    """Upgrade the database of the settings to the schema of this version, and exit."""
    require_server()
    replace_process("core.db.migrate")


def load_settings() -> "Settings":
    """Load the settings of the service.

    Raises:
        CandelaError: a setting is invalid. The message names its variable.
    """
    from core.startup import load_settings_or_exit

    # Warnings are not printed here, because the process that follows prints them.
    with contextlib.redirect_stderr(io.StringIO()) as message:
        try:
            return load_settings_or_exit()
        except SystemExit:
            raise CandelaError(message.getvalue().strip().removeprefix("candela: ")) from None


def replace_process(module: str, *arguments: str) -> NoReturn:
    """Replace this process with `python -m module`, so that signals and exit statuses are those of the module."""
    from core.python_process import PYTHON, set_import_path

    sys.stdout.flush()
    command = [*PYTHON, "-m", module, *arguments]
    os.execve(command[0], command, set_import_path(os.environ))  # noqa: S606 - our own modules
