"""A trainer without training: `python fake_trainer.py PLAN`, speaking the protocol. The plan says how it goes."""

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

PLAN = sys.argv[1]


def say(**message: Any) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


def hear() -> dict[str, Any]:
    """The next order that is no lease."""
    while line := sys.stdin.readline():
        order: dict[str, Any] = json.loads(line)
        if order["type"] != "lease":
            return order
    os._exit(69)


def files(folder: Path, **contents: str) -> dict[str, Any]:
    folder.mkdir(parents=True)
    stored = {}
    for name, content in contents.items():
        path = folder / name.replace("_", ".")
        path.write_text(content)
        digest = hashlib.sha256(content.encode()).hexdigest()
        stored[path.name] = {"sha256": digest, "size_bytes": len(content)}
    return stored


def checkpoint(work: Path, step: int, *tags: str, size: int = 0, kept: list[int] | None = None) -> None:
    folder = work / "checkpoints" / str(step)
    stored = files(folder, weights_safetensors=f"weights {step} {'x' * size}", snapshot_json="{}")
    say(type="checkpoint", dir=str(folder), epoch=step, step=step, metrics={}, tags=tags, kept=kept, files=stored)


def artifact(folder: Path, name: str, content: str, *, is_optional: bool = True) -> None:
    folder.mkdir()
    (folder / name).write_text(content)
    file = {"sha256": hashlib.sha256(content.encode()).hexdigest(), "size_bytes": len(content)}
    say(type="artifact", dir=str(folder), name=name, media_type="text/csv", is_optional=is_optional, **file)


def metrics(step: int, value: float | str) -> None:
    point = {"split": "train", "name": "loss", "step": step, "epoch": 1, "value": value}
    progress = {"epoch": 1, "epochs": 2, "step": step, "steps": 10, "eta_seconds": 1.0}
    say(type="metrics", points=[point], latest={"train_loss": value}, progress=progress, epoch_end=False)


def finish(work: Path) -> None:
    stored = files(work / "bundle", weights_safetensors="final weights", bundle_json='{"format_version": 1}')
    evaluation = {"valid": {"accuracy": 0.9}}
    final = {"dir": str(work / "bundle"), "files": stored, "metrics": {"valid_accuracy": 0.9}}
    say(type="finished", **final, evaluation=evaluation, num_parameters=42, stop_reason=None)


def hoard(work: Path, sizes: list[int], done: int) -> None:
    """Checkpoints of these sizes, those that are done left out, until there is no room for one."""
    for step, size in list(enumerate(sizes, 1))[done:]:
        try:
            checkpoint(work, step, size=size)
        except OSError as error:
            say(type="failed", code="disk_full", message=str(error), hint="make room", facts={})
            sys.exit(1)
        wait_until_taken(work / "checkpoints" / str(step))


def wait_until_taken(folder: Path) -> None:
    while folder.exists():
        time.sleep(0.01)


def main() -> None:
    start = hear()
    work, attempt = Path(start["work_dir"]), start["attempt"]
    resumed = None
    if start["resume_dir"] is not None:
        resumed = int((Path(start["resume_dir"]) / "weights.safetensors").read_text().split()[1])
    saw = json.dumps({"device": start.get("device"), "visible": os.environ.get("CUDA_VISIBLE_DEVICES")})
    say(type="started", runtime={"device": "cpu", "resumed_from_step": resumed, "saw": saw})
    if PLAN in ("succeed", "look") or (PLAN == "die once" and attempt > 1):
        metrics(1, 0.5)
        metrics(2, "NaN")
        say(type="log", level="info", message="hello \0 there")
        finish(work)
    elif PLAN == "answer":
        say(type="log", level="warning", message="mind this")
        say(type="log", level="warning", message="mind this")
        told = [start["model_dir"], start["weights_path"], start["begin_dir"]]
        stored = files(work / "answer", table_csv="name")
        answer = {"result": {"told": told, "text": "a \0 b"}, "metrics": {"test_loss": "NaN"}}
        say(type="answered", **answer, dir=str(work / "answer"), files=stored)
    elif PLAN == "retain":
        for step in range((resumed or 0) + 1, (resumed or 0) + 6):
            every_other = [epoch for epoch in range(1, step + 1) if epoch % 2 == 0][-2:]
            tags = [*(["best"] if step == 1 else []), *(["kept"] if step % 2 == 0 else [])]
            checkpoint(work, step, *tags, kept=every_other)
        os.kill(os.getpid(), signal.SIGKILL)
    elif PLAN == "leave":
        for number, content in enumerate(("one", "two"), 1):
            artifact(work / str(number), "metrics.csv", content)
        artifact(work / "3", "essential.csv", "three", is_optional=False)
        finish(work)
    elif PLAN == "fail":
        checkpoint(work, 1, "best")
        say(type="failed", code="diverged", message="loss is NaN", hint="lower lr", facts={"code": "x", "step": 3})
        sys.exit(1)
    elif PLAN == "break":
        checkpoint(work, (resumed or 0) + 1)
        wait_until_taken(work / "checkpoints" / str((resumed or 0) + 1))
        say(type="failed", code="internal", message="OSError", hint="see the log", facts={})
        sys.exit(1)
    elif PLAN == "the greedy fail" and start["spec"]["name"] == "greedy":
        say(type="failed", code="gpu_out_of_memory", message="CUDA out of memory", hint="batch_size below 16", facts={})
        sys.exit(1)
    elif PLAN == "the greedy fail":
        finish(work)
    elif PLAN == "out of memory":
        say(type="failed", code="host_out_of_memory", message="no memory", hint="less", facts={})
        sys.exit(1)
    elif PLAN.startswith("hoard"):
        hoard(work, [int(size) * 2**20 for size in PLAN.split()[1:]], resumed or 0)
        finish(work)
    elif PLAN in ("die", "die once"):
        for step in (1, 2, 3, 4):
            checkpoint(work, 10 * attempt + step, *(("best",) if step == 1 else ()))
        os.write(2, b"about to die\n")
        os.kill(os.getpid(), signal.SIGKILL)
    elif PLAN == "obey":
        metrics(1, 0.5)
        mode = hear()["mode"]
        checkpoint(work, 7)
        if mode == "finish":
            finish(work)
        else:
            say(type="stopped", mode=mode)
            sys.exit(75)
    elif PLAN == "deaf":
        metrics(1, 0.5)
        time.sleep(600)
    elif PLAN == "nonsense":
        os.write(1, b"what?\n")
        time.sleep(600)


main()
