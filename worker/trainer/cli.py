"""A job that is given on the command line instead of by a supervisor."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import yaml

from core.spec import ANY_JOB
from worker.engine.snapshot_checksums import find_latest_valid
from worker.protocol import Start

NO_LEASE_S = 1e9  # alone in a shell nobody holds a lease


def start_message_from_args(options: argparse.Namespace, warn: Callable[[str], object]) -> Start:
    """What a supervisor would have told the trainer; of a damaged snapshot it `warn`s, and takes the one before.

    Raises:
        BadSnapshot: there is no sound one.
    """
    options.work_dir.mkdir(parents=True, exist_ok=True)
    text = options.spec.read_text()
    is_json = options.spec.suffix == ".json"  # YAML takes its `1e-8` for a text
    spec = ANY_JOB.validate_python(json.loads(text) if is_json else yaml.safe_load(text))
    return Start(
        job_id=spec.name or options.spec.stem,
        attempt=1,
        spec=spec,
        dataset_dir=str(options.dataset_dir),
        dataset={"name": spec.dataset.name, "version": spec.dataset.version},
        work_dir=str(options.work_dir),
        resume_dir=None if options.resume_dir is None else str(find_latest_valid(options.resume_dir, warn)),
        model_dir=None if options.model_dir is None else str(options.model_dir),
        initial_checkpoint_dir=None if options.begin_dir is None else str(find_latest_valid(options.begin_dir, warn)),
        lease_s=NO_LEASE_S,
    )


def create_parser() -> argparse.ArgumentParser:
    """Of the trainer's own command."""
    parser = argparse.ArgumentParser(
        prog="python -m worker.trainer", description="Spec in, messages out; it needs no queue and no database."
    )
    parser.add_argument("--spec", type=Path, help="a job as YAML or JSON; without it orders are read from stdin")
    parser.add_argument("--dataset-dir", type=Path, help="the packed dataset")
    parser.add_argument("--work-dir", type=Path, help="where snapshots and the bundle are left")
    parser.add_argument("--model-dir", type=Path, help="the bundle of the model that the spec names")
    parser.add_argument("--begin-dir", type=Path, help="a snapshot of another job to begin with, as `resume_from` says")
    parser.add_argument("--resume-dir", type=Path, help="a snapshot to go on from, or the folder of them all")
    return parser
