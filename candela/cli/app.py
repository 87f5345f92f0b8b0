"""Assembles the commands of `candela`. To start quickly, each command imports its modules when it is called."""

import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from candela.cli import (
    compare,
    dataset_versions,
    datasets,
    descriptions,
    job_results,
    jobs,
    models,
    predict,
    samples,
    service,
    sweeps,
    variants,
    weights,
)
from candela.cli import system as server
from candela.cli.errors import exit_with_error, wants_json
from candela.cli.reproduce import reproduce
from candela.cli.submit import submit
from candela.cli.suggestions import SuggestingCommand, SuggestingGroup
from candela.cli.watch import watch
from candela.errors import CandelaError, WatchInterrupted

Commands = dict[str, Callable[..., None]]
INTERRUPTED_STATUS = 130  # as of a shell, after Ctrl-C
JOBS, MODELS = "Jobs", "Datasets, models and predictions"  # panels of the help
ClickError: type[Exception] = next(cls for cls in typer.BadParameter.__mro__ if cls.__name__ == "ClickException")

JOB_COMMANDS: Commands = {
    "submit": submit,
    "watch": watch,
    "show": jobs.show,
    "logs": job_results.logs,
    "metrics": job_results.metrics,
    "usage": job_results.usage,
    "lineage": job_results.lineage,
    "events": job_results.events,
    "checkpoints": job_results.checkpoints,
    "artifacts": job_results.artifacts,
    "download": job_results.download,
    "compare": compare.compare,
    "curves": compare.curves,
    "cancel": jobs.cancel,
    "pause": jobs.pause,
    "resume": jobs.resume,
    "finish": jobs.finish,
    "extend": jobs.extend,
    "clone": jobs.clone,
    "reproduce": reproduce,
    "priority": jobs.priority,
    "annotate": jobs.annotate,
    "delete": jobs.delete,
}
RARE_JOB_COMMANDS: Commands = {
    "list": jobs.list_jobs,
    "weights": job_results.weights,
    "register": jobs.register,
    "predict": predict.predict_with_job,
}
SWEEP_COMMANDS: Commands = {
    "list": sweeps.list_sweeps,
    "show": sweeps.show_sweep,
    "watch": sweeps.watch_sweep,
    "trials": sweeps.list_trials,
    "add-trial": sweeps.add_trial,
    "importance": sweeps.show_importance,
    "pause": sweeps.pause_sweep,
    "resume": sweeps.resume_sweep,
    "cancel": sweeps.cancel_sweep,
    "finish": sweeps.finish_sweep,
    "extend": sweeps.extend_sweep,
    "delete": sweeps.delete_sweep,
}
PREDICTION_COMMANDS: Commands = {
    "predict": predict.predict,
    "predict-archive": predict.predict_archive,
    "explain": predict.explain,
    "embed": predict.embed,
}
MODEL_COMMANDS: Commands = {
    "list": models.list_models,
    "show": models.show_model,
    "lineage": models.show_lineage,
    "card": models.show_card,
    "versions": models.list_versions,
    "register": models.register_model,
    "alias": models.set_alias,
    "delete-alias": descriptions.delete_alias,
    "describe": descriptions.describe_model,
    "delete": descriptions.delete_model,
    "bundle": models.download_bundle,
    "variants": variants.list_variants,
    "create-variant": variants.create_variant,
    "delete-variant": variants.delete_variant,
    "export": variants.export_variant,
    **PREDICTION_COMMANDS,
}
DATASET_COMMANDS: Commands = {
    "list": datasets.list_datasets,
    "show": datasets.show_dataset,
    "add": datasets.add_dataset,
    "create": datasets.create_dataset,
    "report": dataset_versions.report,
    "preview": dataset_versions.preview,
    "samples": samples.list_samples,
    "diff": dataset_versions.diff,
    "edit": dataset_versions.edit,
    "export": dataset_versions.export,
    "describe": descriptions.describe_dataset,
    "delete": descriptions.delete_dataset,
}
WEIGHTS_COMMANDS: Commands = {"convert": weights.convert}
UPLOAD_COMMANDS: Commands = {
    "list": datasets.list_uploads,
    "show": datasets.show_upload,
    "delete": datasets.delete_upload,
}
SERVER_COMMANDS: Commands = {
    "catalog": server.catalog,
    "workers": server.workers,
    "system": server.system,
    "whoami": server.whoami,
}
SERVICE_COMMANDS: Commands = {
    "up": service.up,
    "demo": service.demo,
    "doctor": service.doctor,
    "serve": service.serve,
    "worker": service.worker,
    "maintenance": service.maintenance,
    "migrate": service.migrate,
}


def build_app() -> typer.Typer:
    """Build the command line from the tables above."""
    app = _create_group(no_args_is_help=True)
    app.callback(help=_join_lines(configure))(configure)
    jobs_group = _create_list(jobs.list_jobs, JOB_COMMANDS | RARE_JOB_COMMANDS)
    datasets_group = _create_list(datasets.list_datasets, DATASET_COMMANDS)
    uploads_group = _create_list(datasets.list_uploads, UPLOAD_COMMANDS)
    datasets_group.add_typer(uploads_group, name="uploads", help="List, show or delete resumable uploads.")
    models_group = _create_list(models.list_models, MODEL_COMMANDS)
    app.add_typer(jobs_group, name="jobs", help="List jobs, or control one.", rich_help_panel=JOBS)
    _add_commands(app, JOB_COMMANDS, JOBS)
    _add_commands(app, {"sweep": sweeps.submit_sweep}, JOBS)
    sweeps_group = _create_list(sweeps.list_sweeps, SWEEP_COMMANDS)
    app.add_typer(sweeps_group, name="sweeps", help="List sweeps, or follow and control one.", rich_help_panel=JOBS)
    app.add_typer(datasets_group, name="datasets", help="List, add, edit and export datasets.", rich_help_panel=MODELS)
    app.add_typer(models_group, name="models", help="List, register and export models.", rich_help_panel=MODELS)
    weights_group = _create_group(no_args_is_help=True)
    _add_commands(weights_group, WEIGHTS_COMMANDS)
    app.add_typer(weights_group, name="weights", help="Prepare files of weights.", rich_help_panel=MODELS)
    _add_commands(app, PREDICTION_COMMANDS, MODELS)
    _add_commands(app, SERVER_COMMANDS, "Server")
    _add_commands(app, SERVICE_COMMANDS, "Run the service")
    return app


def configure(
    url: Annotated[
        str | None,
        typer.Option("--url", metavar="URL", help="Server (default: CANDELA_URL, else http://127.0.0.1:8000)."),
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option("--key-file", metavar="FILE", help="File with the API key (default: the key in CANDELA_API_KEY)."),
    ] = None,
    _version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", callback=lambda value: _print_version(value)),
    ] = False,
) -> None:
    """Train and serve neural networks over HTTP.

    CANDELA_URL is the server (default: http://127.0.0.1:8000), CANDELA_API_KEY your API key. Commands for one job take
    its id, the start of its id, its name, or latest.
    """
    if url is not None:
        os.environ["CANDELA_URL"] = url
    if key_file is not None:
        key = key_file.read_text(encoding="utf-8").strip()
        if not key:
            raise CandelaError(f"{key_file} is empty; it must contain an API key")
        os.environ["CANDELA_API_KEY"] = key


def _print_version(is_requested: bool) -> None:
    if is_requested:
        from candela.version import __version__

        print(f"candela {__version__}")
        raise typer.Exit


def _create_group(**options: Any) -> typer.Typer:  # noqa: ANN401 - options of Typer
    settings = {"help_option_names": ["-h", "--help"]}
    return typer.Typer(cls=SuggestingGroup, pretty_exceptions_enable=False, context_settings=settings, **options)


def _create_list(callback: Callable[..., None], commands: Commands) -> typer.Typer:
    """Create a group that lists something when it is called without a command."""
    group = _create_group(invoke_without_command=True)
    group.callback()(callback)
    _add_commands(group, commands)
    return group


def _add_commands(app: typer.Typer, commands: Commands, panel: str | None = None) -> None:
    for name, command in commands.items():
        app.command(name, cls=SuggestingCommand, help=_join_lines(command), rich_help_panel=panel)(command)


def _join_lines(command: Callable[..., None]) -> str:
    """Return the docstring with one line per paragraph, because the help is as wide as the terminal."""
    paragraphs = (inspect.getdoc(command) or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


app = build_app()


def main() -> NoReturn:
    """Run a command. If it fails, print the error once and exit with a nonzero status."""
    as_json = wants_json(sys.argv[1:])
    try:
        status = app(prog_name="candela", standalone_mode=not as_json)
    except ClickError as error:  # the command line is invalid; without --json, typer prints the error
        exit_with_error(error, as_json=as_json, status=getattr(error, "exit_code", 2))
    except typer.Abort:  # a question was answered with no
        exit_with_error(CandelaError("cancelled; nothing was changed"), as_json=as_json)
    except WatchInterrupted as error:
        exit_with_error(error, as_json=as_json, status=INTERRUPTED_STATUS)
    except (CandelaError, OSError) as error:
        exit_with_error(error, as_json=as_json)
    sys.exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
