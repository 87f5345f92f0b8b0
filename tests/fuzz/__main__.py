"""Fuzzes the readers of untrusted bytes: `python -m tests.fuzz --seconds 600`, or `make fuzz T=600`."""

import argparse
import importlib.util
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.fuzz.campaign import TargetCampaign, TargetFigures, run_campaigns
from tests.fuzz.child import Engine
from tests.fuzz.findings import ROOT
from tests.fuzz.target import MODULES

FOLDER = ROOT / "var" / "fuzz"


def format_table(figures: Sequence[TargetFigures]) -> Iterator[str]:
    """Yield the lines of a Markdown table: one for each target, and the totals."""
    yield "| target | inputs | inputs/s | CPU s | crashes | time-outs | new corpus entries |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for each in figures:
        num_crashes = sum(each.failures.values()) - each.failures["timeout"]
        rate = each.num_inputs / each.seconds
        yield (
            f"| `{each.target}` | {each.num_inputs:,} | {rate:,.0f} | {each.cpu_s:.0f} | {num_crashes} "
            f"| {each.failures['timeout']} | {each.num_new_corpus_entries:,} |"
        )
    num_inputs = sum(each.num_inputs for each in figures)
    num_timeouts = sum(each.failures["timeout"] for each in figures)
    num_crashes = sum(sum(each.failures.values()) for each in figures) - num_timeouts
    num_entries = sum(each.num_new_corpus_entries for each in figures)
    cpu_s = sum(each.cpu_s for each in figures)
    yield f"| all | {num_inputs:,} | | {cpu_s:.0f} | {num_crashes} | {num_timeouts} | {num_entries:,} |"


def list_findings(figures: Sequence[TargetFigures]) -> Iterator[str]:
    """Yield a line for each finding, and how to reproduce it."""
    for each in figures:
        for finding in each.findings:
            path = finding.path.relative_to(ROOT) if finding.path.is_relative_to(ROOT) else finding.path
            yield f"{each.target}: {finding.place}\n    python -m tests.fuzz --reproduce {path}"


def choose_engine(requested: str | None) -> Engine:
    """Return the engine: Atheris if it is installed, otherwise random changes of the seeds."""
    match requested:
        case "coverage" | "seeded":
            return requested
        case _:
            return "coverage" if importlib.util.find_spec("atheris") else "seeded"


def reproduce(file: Path, target: str | None) -> int:
    """Run one input, whose folder has the name of the target, and print its failure. Return the exit status."""
    report = TargetCampaign(target or file.resolve().parent.name, "seeded", FOLDER).reproduce(file.resolve())
    sys.stdout.write(report or "No failure.\n")
    return int(report is not None)


def main() -> int:
    """Fuzz, or reproduce a finding."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="seconds of all targets together")
    parser.add_argument("--processes", type=int, default=2, help="targets at a time; default: 2")
    parser.add_argument("--targets", nargs="+", choices=sorted(MODULES), default=list(MODULES))
    parser.add_argument("--engine", choices=("coverage", "seeded"), help="default: coverage if Atheris is installed")
    parser.add_argument("--seed", type=int, help="default: random")
    parser.add_argument("--reproduce", type=Path, metavar="FILE", help="run one input and print its failure")
    parser.add_argument("--target", choices=sorted(MODULES), help="with --reproduce; default: the name of the folder")
    options = parser.parse_args()
    if options.reproduce is not None:
        return reproduce(options.reproduce, options.target)
    engine = choose_engine(options.engine)
    seed = random.SystemRandom().randrange(2**31) if options.seed is None else options.seed
    sys.stdout.write(f"engine {engine}, seed {seed}, {options.seconds:g} s, folder {FOLDER.relative_to(ROOT)}\n")
    figures = run_campaigns(options.targets, engine, FOLDER, options.seconds, options.processes, seed)
    sys.stdout.writelines(f"{line}\n" for line in (*format_table(figures), "", *list_findings(figures)))
    return int(any(each.findings for each in figures))


if __name__ == "__main__":
    sys.exit(main())
