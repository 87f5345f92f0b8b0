"""Predictions over real HTTP, beside other servers of networks: everything in one go.

    python -m benchmarks.serving [--quick] [--dtype fp32] [--rounds 5] [--only small,conv5,two,overload,alias] [--write]

The first run makes the peers' environments and trains two networks by jobs of the service, which takes some minutes;
both stay under `var/serving`, or where BENCH_PLACE says. A peer's settings are searched anew in every run. Load comes
from `wrk` (closed loop) and from a process of uvloop (open loop); all share this machine's processors. With --write the
tables go into RESULTS.md. Everything it starts it stops.
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
from benchmarks.serving.arithmetic import Row, table, with_section
from benchmarks.serving.environments import PLACE
from benchmarks.serving.rounds import Conditions, conditions
from benchmarks.serving.servers import ROOT, candela
from candela import Client

RESULTS = ROOT / "benchmarks" / "RESULTS.md"
HEADING = "## `serving/`: predictions over HTTP beside other servers"
SECTIONS: dict[str, Callable[[sections.Bench], list[Row]]] = {
    "small": lambda bench: sections.throughput(bench, models.SMALL),
    "conv5": lambda bench: sections.throughput(bench, models.CONV5),
    "two": sections.two_models,
    "overload": lambda bench: sections.overload(bench, models.CONV5),
    "alias": sections.alias_switch,
}
BOUND_S = 1.0
"""How long a prediction may take, as the service is told for the overload; all else is measured with its defaults."""
BUSY_CORES = 0.2
PEERS = ("litserve", "mlserver", "torchserve")


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    if shutil.which("wrk") is None:
        print("wrk is needed: apt-get install wrk", file=sys.stderr)
        return 2
    asked.peers = [peer for peer in asked.peers if _is_usable(peer)]
    servers.clear_runs()
    began, before = time.monotonic(), conditions()
    rows = _rows(asked, [name for name in asked.only if name != "overload"], {}, None)
    if "overload" in asked.only:
        rows += _rows(asked, ["overload"], {"CANDELA_MAX_PREDICT_WAIT_S": str(BOUND_S)}, BOUND_S)
    text = _report(rows, (before, conditions()), asked, time.monotonic() - began)
    print(f"\n{text}")
    if asked.write:
        RESULTS.write_text(with_section(RESULTS.read_text(), HEADING, text))
    return 0


def _rows(
    asked: argparse.Namespace, names: Sequence[str], environment: dict[str, str], bound_s: float | None
) -> list[Row]:
    """Some sections, with a service of their own."""
    if not names:
        return []
    precision = {"CANDELA_PREDICT_PRECISION": asked.dtype}
    with candela(PLACE / "home", environment | precision) as (url, pid):
        bundles = {name: models.ensure(url, model) for name, model in models.MODELS.items()}
        with Client(url) as client:
            client.models.alias("small", "default", 1)
        bench = sections.Bench(
            url=url,
            pid=pid,
            dtype=asked.dtype,
            rounds=asked.rounds,
            seconds=3 if asked.quick else 6,
            bundles=bundles,
            bodies={name: models.bodies(model) for name, model in models.MODELS.items()},
            peers=tuple(asked.peers),
            bound_s=bound_s,
            say=_say,
            is_quick=asked.quick,
            tries_all=asked.every_setting,
        )
        sections.warm_up(bench)
        return [row for name in names for row in SECTIONS[name](bench)]


def _is_usable(peer: str) -> bool:
    if peer == "torchserve" and shutil.which("java") is None:
        _say("torchserve is left out: it needs Java (apt-get install openjdk-17-jre-headless)")
        return False
    try:
        environments.make(peer)
    except subprocess.CalledProcessError as error:
        _say(f"{peer} is left out: its environment could not be made: {error}")
        return False
    return True


def _report(
    rows: Sequence[Row], weather: tuple[Conditions, Conditions], asked: argparse.Namespace, seconds: float
) -> str:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout
    used = ", ".join(f"{peer} {environments.version(peer)}" for peer in asked.peers)
    machine = f"{os.cpu_count()} processors ({platform.machine()}), torch {torch.__version__}"
    is_busy = max(one.busy_cores for one in weather) > BUSY_CORES
    doubt = "**Other work took part of the machine: these verdicts do not count, and the run is to be repeated.**\n"
    doubt = doubt if is_busy else ""
    return (
        f"`python -m benchmarks.serving{' --quick' if asked.quick else ''}`, {asked.dtype} on every side, "
        f"{asked.rounds} rounds, {seconds:.0f} s in all, at {commit.strip()} on {machine}; {used}.\n"
        f"Other work on the machine, before: {weather[0]}; after: {weather[1]}.\n{doubt}\n{table(rows)}"
    )


def _say(text: str) -> None:
    print(text, flush=True)


def _names(known: Sequence[str]) -> Callable[[str], list[str]]:
    def names(text: str) -> list[str]:
        chosen = [name for name in text.split(",") if name]
        if unknown := set(chosen) - set(known):
            raise argparse.ArgumentTypeError(f"no {', '.join(sorted(unknown))}; there are {', '.join(known)}")
        return chosen

    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="3 seconds a measurement, not 6; only what is asked for")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32", help="what all sides compute in")
    parser.add_argument("--only", type=_names(list(SECTIONS)), default=list(SECTIONS), help=",".join(SECTIONS))
    known = list(environments.PACKAGES)
    parser.add_argument("--peers", type=_names(known), default=list(PEERS), help=",".join(known))
    parser.add_argument(
        "--every-setting", action="store_true", help="try all settings of the peers, not a few: an hour"
    )
    parser.add_argument("--write", action="store_true", help=f"write the tables into {RESULTS.name}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
