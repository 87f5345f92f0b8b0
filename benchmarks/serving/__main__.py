"""Predictions over real HTTP, beside other servers of networks: everything in one go.

    python -m benchmarks.serving [--quick] [--dtype fp32] [--rounds 5] [--only small,conv5,two,overload,alias] [--write]
    python -m benchmarks.serving --tune [--peers litserve,mlserver]    # search the peers' best settings, half an hour

The first run makes the peers' environments and trains two networks by jobs of the service, which takes some minutes;
both stay under `var/serving`. Load comes from `wrk` (closed loop) and from a process of uvloop (open loop); all share
this machine's processors. With --write the tables go into RESULTS.md. Everything it starts it stops.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence

import torch

from benchmarks.serving import environments, models, sections, settings
from benchmarks.serving.arithmetic import Row, table, with_section
from benchmarks.serving.environments import PLACE
from benchmarks.serving.rounds import conditions
from benchmarks.serving.servers import ROOT, candela
from candela import Client

RESULTS = ROOT / "benchmarks" / "RESULTS.md"
HEADING = "## `serving/`: predictions over HTTP beside other servers"
SECTIONS = ("small", "conv5", "two", "overload", "alias")


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    if shutil.which("wrk") is None:
        print("wrk is needed: apt-get install wrk", file=sys.stderr)
        return 2
    peers = [peer for peer in asked.peers if _is_usable(peer)]
    began, before = time.monotonic(), conditions()
    rows: list[Row] = []
    with candela(PLACE / "home", {}) as url:
        bundles = {name: models.ensure(url, model) for name, model in models.MODELS.items()}
        bodies = {name: models.bodies(model) for name, model in models.MODELS.items()}
        with Client(url) as client:
            client.models.alias("small", "default", 1)
        bench = sections.Bench(
            url, asked.dtype, asked.rounds, 3 if asked.quick else 6, bundles, bodies, tuple(peers), None, _say
        )
        if not asked.tune:
            for name in asked.only:
                rows += _section(bench, name)
    if asked.tune:
        _tune(peers, asked.dtype, bodies)
        return 0
    text = _report(rows, f"before: {before}; after: {conditions()}", asked, time.monotonic() - began)
    print(f"\n{text}")
    if asked.write:
        RESULTS.write_text(with_section(RESULTS.read_text(), HEADING, text))
    return 0


def _section(bench: sections.Bench, name: str) -> list[Row]:
    match name:
        case "small":
            return sections.throughput(bench, models.SMALL, bench.peers)
        case "conv5":
            return sections.throughput(bench, models.CONV5, tuple(peer for peer in bench.peers if peer == "litserve"))
        case "two":
            return sections.two_models(bench)
        case "overload":
            return sections.overload(bench, models.CONV5)
        case _:
            return sections.alias_switch(bench)


def _tune(peers: Sequence[str], dtype: str, bodies: dict[str, dict[str, models.Body]]) -> None:
    for peer in peers:
        for model in models.MODELS.values():
            if model is models.SMALL or peer == "litserve":
                settings.tune(peer, model, dtype, bodies[model.name], _say)


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


def _report(rows: Sequence[Row], weather: str, asked: argparse.Namespace, seconds: float) -> str:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout
    used = [f"{peer} {environments.version(peer)}" for peer in asked.peers if environments.is_there(peer)]
    machine = f"{os.cpu_count()} processors ({platform.machine()}), torch {torch.__version__}"
    return (
        f"`python -m benchmarks.serving{' --quick' if asked.quick else ''}`, {asked.dtype} on every side, "
        f"{asked.rounds} rounds, {seconds:.0f} s in all, at {commit.strip()} on {machine}; {', '.join(used)}.\n"
        f"Other work on the machine, {weather}.\n\n{table(rows)}"
    )


def _say(text: str) -> None:
    print(text, flush=True)


def _names(known: Sequence[str]) -> "type[list[str]]":
    def names(text: str) -> list[str]:
        chosen = [name for name in text.split(",") if name]
        if unknown := set(chosen) - set(known):
            raise argparse.ArgumentTypeError(f"no {', '.join(sorted(unknown))}; there are {', '.join(known)}")
        return chosen

    return names  # type: ignore[return-value]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="3 seconds a measurement instead of 6")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32", help="what the peers compute in")
    parser.add_argument("--only", type=_names(SECTIONS), default=list(SECTIONS), help=",".join(SECTIONS))
    parser.add_argument("--peers", type=_names(tuple(environments.PACKAGES)), default=list(environments.PACKAGES))
    parser.add_argument("--tune", action="store_true", help="search the best settings of the peers, and remember them")
    parser.add_argument("--write", action="store_true", help=f"write the tables into {RESULTS.name}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
