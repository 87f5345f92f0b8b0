"""Parses the command-line options of `python -m worker.trainer`, for running a job without a supervisor."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from core.spec import ANY_JOB
from worker.engine.snapshot_checksums import find_latest_valid
from worker.protocol import Start

NO_LEASE_S = 1e9  # practically unlimited, because no supervisor renews the lease


def build_start_message(options: argparse.Namespace, warn: Callable[[str], object]) -> Start:
    """Build a start message from the command-line options.

    Args:
        options: the parsed options.
        warn: called with a warning for each damaged snapshot that is skipped.

    Raises:
        BadSnapshot: snapshots exist, but all of them are damaged.
    """
    import yaml  # imported here: a trainer with a supervisor reads no spec file

    options.work_dir.mkdir(parents=True, exist_ok=True)
    text = options.spec.read_text()
    is_json = options.spec.suffix == ".json"  # do not parse JSON as YAML, which reads `1e-8` as a string
    spec = ANY_JOB.validate_python(json.loads(text) if is_json else yaml.safe_load(text))
    return Start(
        job_id=spec.name or options.spec.stem,
        attempt=1,
        spec=spec,
        dataset_dir=str(options.dataset_dir),
        dataset={} if spec.dataset is None else {"name": spec.dataset.name, "version": spec.dataset.version},
        work_dir=str(options.work_dir),
        resume_dir=None if options.resume_dir is None else str(find_latest_valid(options.resume_dir, warn)),
        model_dir=None if options.model_dir is None else str(options.model_dir),
        initial_checkpoint_dir=None if options.begin_dir is None else str(find_latest_valid(options.begin_dir, warn)),
        lease_s=NO_LEASE_S,
    )


def create_parser() -> argparse.ArgumentParser:
    """Create the parser of the command-line options."""
    parser = argparse.ArgumentParser(
        prog="python -m worker.trainer",
        description="Run one job and write its messages as JSON lines to stdout.",
    )
    parser.add_argument("--spec", type=Path, help="the job as a YAML or JSON file; default: read messages from stdin")
    parser.add_argument("--dataset-dir", type=Path, help="the folder of the packed dataset")
    parser.add_argument("--work-dir", type=Path, help="the output folder for snapshots and the bundle")
    parser.add_argument("--model-dir", type=Path, help="the bundle of the model that the spec names")
    parser.add_argument(
        "--begin-dir", type=Path, help="a snapshot of another job to start from, as `resume_from` specifies"
    )
    parser.add_argument("--resume-dir", type=Path, help="a snapshot to resume from, or the folder of all snapshots")
    return parser
