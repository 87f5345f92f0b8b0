"""The process that runs the examples of one target: `python -m tests.fuzz.child CONFIGURATION`."""

import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import orjson

from tests.fuzz.budget import MAX_INPUT_BYTES, Budget, StatusBoard, limit_memory
from tests.fuzz.executor import Executor, compute_digest, exit_now, prepare_process
from tests.fuzz.findings import FindingsFolder
from tests.fuzz.minimization import minimize
from tests.fuzz.mutations import mutate_bytes
from tests.fuzz.target import FuzzTarget, list_instrumented, list_regressions, load_target

Engine = Literal["coverage", "seeded", "reproduce", "minimize"]
STATUS_FAILED, STATUS_RESTART = 3, 4
_STRUCTURED_SHARE = 0.6


class ChildConfig(NamedTuple):
    """What a child does.

    Attributes:
        target: the name of the target.
        engine: `coverage` is Atheris, `seeded` applies random changes to the seeds, `reproduce` and `minimize` run
            `file`.
        budget: the limits of each example.
        seconds: for how long, from the first example.
        num_examples: the maximum number of examples of `seeded`.
        seed: of the random numbers.
        board: the file of the `StatusBoard`.
        stack_file: the file for the traceback if a signal ends the process.
        corpus: the folder of inputs that reach new code. They are used as seeds, too.
        findings: the folder of the `FindingsFolder`.
        fatal: SHA-256 of inputs that are not run.
        file: an input.
    """

    target: str
    engine: Engine
    board: str
    stack_file: str
    corpus: str
    findings: str
    budget: Budget = Budget()
    seconds: float = 60.0
    num_examples: int = 2**62
    seed: int = 0
    fatal: tuple[str, ...] = ()
    file: str = ""

    def to_json(self) -> str:
        return orjson.dumps(self._asdict() | {"budget": list(self.budget)}).decode()

    @classmethod
    def from_json(cls, text: str) -> "ChildConfig":
        fields = orjson.loads(text)
        return cls(**fields | {"budget": Budget(*fields["budget"]), "fatal": tuple(fields["fatal"])})


def run_child(config: ChildConfig) -> int:
    """Run examples until the time or their number is used up. Return the exit status."""
    stack_file = prepare_process(Path(config.stack_file))
    target = _load_with_coverage(config.target) if config.engine == "coverage" else load_target(config.target)
    board, findings = StatusBoard(Path(config.board)), FindingsFolder(Path(config.findings))
    executor = Executor(target, config.budget, board, findings, config.fatal)
    regressions = [path.read_bytes() for path in list_regressions(config.target)]
    seeds = [
        seed
        for seed in (*regressions, *target.seeds())
        if len(seed) <= MAX_INPUT_BYTES and compute_digest(seed) not in config.fatal
    ]
    limit_memory(config.budget)
    match config.engine:
        case "coverage":
            _run_atheris(config, target, executor, seeds)
        case "seeded":
            _run_random_changes(config, target, executor, seeds)
        case "reproduce":
            failure = executor.run(Path(config.file).read_bytes())
            if failure is not None:
                sys.stdout.write(f"{failure.kind}: {failure.place}\n\n{failure.report}\n")
                return STATUS_FAILED
        case "minimize":
            _minimize(config, executor)
    stack_file.close()
    return 0


def _load_with_coverage(name: str) -> FuzzTarget:
    import atheris  # only this engine needs it, and it exists for few platforms

    with atheris.instrument_imports(include=list_instrumented(name), enable_loader_override=False):
        return load_target(name)


def _run_atheris(config: ChildConfig, target: FuzzTarget, executor: Executor, seeds: list[bytes]) -> None:
    """Run Atheris, which ends the process when the time is used up."""
    import atheris

    def run_example(body: bytes) -> None:
        failure = executor.run(body)
        if failure is not None and failure.kind == "memory":
            exit_now(STATUS_RESTART)  # Atheris itself needs more memory over time

    def change_input(body: bytes, max_size: int, seed: int) -> bytes:
        rng = random.Random(seed)
        changed = target.mutate(body, rng) if rng.random() < _STRUCTURED_SHARE else None
        if changed is None:
            changed = atheris.Mutate(body, len(body)) if rng.random() < 0.5 else mutate_bytes(body, rng, target.tokens)
        return bytes(changed[:max_size])

    folder = Path(tempfile.mkdtemp(prefix="fuzz-seeds-"))
    for body in seeds:
        (folder / compute_digest(body)).write_bytes(body)
    arguments = [
        "fuzz",
        f"-max_total_time={max(1, round(config.seconds))}",
        f"-max_len={MAX_INPUT_BYTES}",
        f"-seed={config.seed + 1}",
        "-rss_limit_mb=0",  # RLIMIT_AS limits the memory
        "-timeout=86400",  # the executor limits the time
        "-len_control=0",
        "-verbosity=0",
        f"-artifact_prefix={folder}/",
        config.corpus,
        str(folder),
    ]
    atheris.Setup(arguments, run_example, custom_mutator=change_input)
    atheris.Fuzz()


def _run_random_changes(config: ChildConfig, target: FuzzTarget, executor: Executor, seeds: list[bytes]) -> None:
    """Run the seeds, and then random changes of them."""
    ends_at = time.monotonic() + config.seconds
    rng = random.Random(config.seed)
    pool = seeds + [path.read_bytes() for path in sorted(Path(config.corpus).iterdir())]
    for number in range(config.num_examples):
        if time.monotonic() > ends_at:
            break
        executor.run(pool[number] if number < len(pool) else _mutate(rng.choice(pool), target, rng, pool))


def _mutate(body: bytes, target: FuzzTarget, rng: random.Random, others: list[bytes]) -> bytes:
    changed = target.mutate(body, rng) if rng.random() < _STRUCTURED_SHARE else None
    if changed is None:
        changed = mutate_bytes(body, rng, target.tokens, others)
    return changed[:MAX_INPUT_BYTES]


def _minimize(config: ChildConfig, executor: Executor) -> None:
    """Replace a finding with the smallest input that fails in the same place."""
    ends_at = time.monotonic() + config.seconds
    body = Path(config.file).read_bytes()
    failure = executor.run(body)
    if failure is None and Path(config.file).name.startswith("memory"):
        # The memory of earlier examples was not released yet, or Atheris used it.
        Path(config.file).unlink()
        Path(config.file).with_suffix(".txt").unlink()
    if failure is not None:
        place = failure.place

        def fails_again(candidate: bytes) -> bool:
            found = executor.run(candidate)
            return found is not None and found.place == place

        minimize(body, fails_again, is_over=lambda: time.monotonic() > ends_at)


def main(arguments: list[str], exit_process: Callable[[int], Any] = exit_now) -> None:
    """Run a child with the configuration in the first argument."""
    sys.argv = sys.argv[:1]
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    exit_process(run_child(ChildConfig.from_json(arguments[0])))


if __name__ == "__main__":
    main(sys.argv[1:])
