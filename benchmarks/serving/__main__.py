"""Runs the serving benchmark: predictions over HTTP, compared with other model servers.

    python -m benchmarks.serving [--quick] [--dtype fp32] [--rounds 5] [--only small,conv5,two,overload,alias] [--write]

The first run creates the peers' environments and trains two models with the service, which takes some minutes. Both
are kept in `var/serving`, or in the folder BENCH_PLACE. Every run searches for the best settings of each peer. The load
generators are `wrk` (closed loop) and a uvloop process (open loop). All processes share this machine's CPUs. With
--write, the tables are written to RESULTS.md. The benchmark stops every process that it starts.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import torch

from benchmarks.serving import environments, models, sections, servers
from benchmarks.serving.arithmetic import Row, format_table, replace_section
from benchmarks.serving.environments import PLACE
from benchmarks.serving.rounds import Conditions, measure_conditions
from benchmarks.serving.servers import ROOT, run_candela
from candela import Client

RESULTS = ROOT / "benchmarks" / "RESULTS.md"
HEADING = "## `serving/`: predictions over HTTP compared with other servers"
SECTIONS: dict[str, Callable[[sections.Bench], list[Row]]] = {
    "small": lambda bench: sections.measure_throughput(bench, models.SMALL),
    "conv5": lambda bench: sections.measure_throughput(bench, models.CONV5),
    "two": sections.measure_two_models,
    "overload": lambda bench: sections.measure_overload(bench, models.CONV5),
    "alias": sections.measure_alias_switch,
}
BOUND_S = 1.0
"""Maximum prediction time, configured for the overload section. The other sections use the defaults."""
BUSY_CORES = 0.2
PEERS = ("litserve", "mlserver", "torchserve")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _build_parser().parse_args(arguments)
    if shutil.which("wrk") is None:
        print("wrk is required: apt-get install wrk", file=sys.stderr)
        return 2
    options.peers = [peer for peer in options.peers if _is_usable(peer)]
    servers.clear_runs()
    started_at, before = time.monotonic(), measure_conditions()
    rows = _run_sections(options, [name for name in options.only if name != "overload"], {}, None)
    if "overload" in options.only:
        rows += _run_sections(options, ["overload"], {"CANDELA_MAX_PREDICT_WAIT_S": str(BOUND_S)}, BOUND_S)
    text = _format_report(rows, (before, measure_conditions()), options, time.monotonic() - started_at)
    print(f"\n{text}")
    if options.write:
        RESULTS.write_text(replace_section(RESULTS.read_text(), HEADING, text))
    return 0


def _run_sections(
    options: argparse.Namespace, names: Sequence[str], environment: dict[str, str], bound_s: float | None
) -> list[Row]:
    """Start a service and return the rows of some sections."""
    if not names:
        return []
    precision = {"CANDELA_PREDICT_PRECISION": options.dtype}
    with run_candela(PLACE / "home", environment | precision) as (url, pid):
        bundles = {name: models.train_if_missing(url, model) for name, model in models.MODELS.items()}
        with Client(url) as client:
            client.models.set_alias("small", "default", 1)
        bench = sections.Bench(
            url=url,
            pid=pid,
            dtype=options.dtype,
            rounds=options.rounds,
            seconds=3 if options.quick else 6,
            bundles=bundles,
            bodies={name: models.make_bodies(model) for name, model in models.MODELS.items()},
            peers=tuple(options.peers),
            bound_s=bound_s,
            log=_print_line,
            is_quick=options.quick,
            tries_all=options.every_setting,
        )
        sections.warm_up(bench)
        return [row for name in names for row in SECTIONS[name](bench)]


def _is_usable(peer: str) -> bool:
    if peer == "torchserve" and shutil.which("java") is None:
        _print_line("torchserve is skipped: it requires Java (apt-get install openjdk-17-jre-headless)")
        return False
    try:
        environments.make_environment(peer)
    except subprocess.CalledProcessError as error:
        _print_line(f"{peer} is skipped: its environment could not be created: {error}")
        return False
    return True


def _format_report(
    rows: Sequence[Row], conditions: tuple[Conditions, Conditions], options: argparse.Namespace, seconds: float
) -> str:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout
    versions = ", ".join(f"{peer} {environments.get_version(peer)}" for peer in options.peers)
    machine = f"{os.cpu_count()} processors ({platform.machine()}), torch {torch.__version__}"
    is_busy = max(one.busy_cores for one in conditions) > BUSY_CORES
    warning = "**Other processes used the CPUs: these results are not valid. Repeat the run.**\n"
    warning = warning if is_busy else ""
    return (
        f"`python -m benchmarks.serving{' --quick' if options.quick else ''}`, {options.dtype} on every side, "
        f"{options.rounds} rounds, {seconds:.0f} s in all, at {commit.strip()} on {machine}; {versions}.\n"
        f"Other work on the machine, before: {conditions[0]}; after: {conditions[1]}.\n{warning}\n{format_table(rows)}"
    )


def _print_line(text: str) -> None:
    print(text, flush=True)


def _build_names_parser(allowed: Sequence[str]) -> Callable[[str], list[str]]:
    def parse_names(text: str) -> list[str]:
        chosen = [name for name in text.split(",") if name]
        if unknown := set(chosen) - set(allowed):
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}; allowed: {', '.join(allowed)}")
        return chosen

    return parse_names


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="3 seconds per measurement instead of 6; fewer comparisons"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32", help="precision of all sides")
    parser.add_argument(
        "--only", type=_build_names_parser(list(SECTIONS)), default=list(SECTIONS), help=",".join(SECTIONS)
    )
    allowed = list(environments.PACKAGES)
    parser.add_argument("--peers", type=_build_names_parser(allowed), default=list(PEERS), help=",".join(allowed))
    parser.add_argument(
        "--every-setting", action="store_true", help="try all settings of the peers, which takes an hour"
    )
    parser.add_argument("--write", action="store_true", help=f"write the tables to {RESULTS.name}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
