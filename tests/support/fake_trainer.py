"""A trainer that does not train: `python fake_trainer.py PLAN` sends the messages that the plan says."""

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

PLAN = sys.argv[1]


def send(**message: Any) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


def receive() -> dict[str, Any]:
    """Return the next message of the supervisor that is not a lease renewal."""
    while line := sys.stdin.readline():
        message: dict[str, Any] = json.loads(line)
        if message["type"] != "lease_renewed":
            return message
    os._exit(69)


def write_files(folder: Path, **contents: str) -> dict[str, Any]:
    """Write files, named like the keywords with dots for underscores, and return their digests."""
    folder.mkdir(parents=True)
    digests = {}
    for name, content in contents.items():
        path = folder / name.replace("_", ".")
        path.write_text(content)
        digest = hashlib.sha256(content.encode()).hexdigest()
        digests[path.name] = {"sha256": digest, "size_bytes": len(content)}
    return digests


def send_checkpoint(work: Path, step: int, *tags: str, size: int = 0, retained: list[int] | None = None) -> None:
    folder = work / "checkpoints" / str(step)
    files = write_files(folder, weights_safetensors=f"weights {step} {'x' * size}", snapshot_json="{}")
    position = {"epoch": step, "step": step}
    send(type="checkpoint", dir=str(folder), **position, metrics={}, tags=tags, retained_epochs=retained, files=files)


def send_artifact(folder: Path, name: str, content: str, *, is_optional: bool = True) -> None:
    folder.mkdir()
    (folder / name).write_text(content)
    digest = {"sha256": hashlib.sha256(content.encode()).hexdigest(), "size_bytes": len(content)}
    send(type="artifact", dir=str(folder), name=name, media_type="text/csv", is_optional=is_optional, **digest)


def send_metrics(step: int, value: float | str) -> None:
    point = {"split": "train", "name": "loss", "step": step, "epoch": 1, "value": value}
    progress = {"epoch": 1, "epochs": 2, "step": step, "steps": 10, "eta_seconds": 1.0}
    send(type="metrics", points=[point], latest={"train_loss": value}, progress=progress, epoch_end=False)


def send_finished(work: Path) -> None:
    files = write_files(work / "bundle", weights_safetensors="final weights", bundle_json='{"format_version": 1}')
    evaluation = {"valid": {"accuracy": 0.9}}
    fields = {"dir": str(work / "bundle"), "files": files, "metrics": {"valid_accuracy": 0.9}}
    send(type="finished", **fields, evaluation=evaluation, num_parameters=42, stop_reason=None)


def send_failed(code: str, message: str, hint: str, extra: dict[str, Any] | None = None) -> None:
    send(type="failed", code=code, message=message, hint=hint, extra=extra or {})
    sys.exit(1)


def fill_disk(work: Path, sizes: list[int], num_done: int) -> None:
    """Send checkpoints of these sizes, after the first `num_done`, until the disk is full."""
    for step, size in list(enumerate(sizes, 1))[num_done:]:
        try:
            send_checkpoint(work, step, size=size)
        except OSError as error:
            send_failed("disk_full", str(error), "free disk space")
        wait_until_stored(work / "checkpoints" / str(step))


def wait_until_stored(folder: Path) -> None:
    while folder.exists():
        time.sleep(0.01)


def crash(work: Path, attempt: int) -> None:
    """Send four checkpoints and exit by a signal."""
    for step in (1, 2, 3, 4):
        send_checkpoint(work, 10 * attempt + step, *(("best",) if step == 1 else ()))
    os.write(2, b"about to crash\n")
    os.kill(os.getpid(), signal.SIGKILL)


def succeed(work: Path) -> None:
    send_metrics(1, 0.5)
    send_metrics(2, "NaN")
    send(type="log", level="info", message="hello \0 there")
    send_finished(work)


def complete(work: Path, start: dict[str, Any]) -> None:
    """Send a result without a model, with the paths that the start message had."""
    for _ in range(2):
        send(type="log", level="warning", message="the same warning twice")
    paths = [start["model_dir"], start["weights_path"], start["initial_checkpoint_dir"]]
    files = write_files(work / "result", table_csv="name")
    fields = {"result": {"paths": paths, "text": "a \0 b"}, "metrics": {"test_loss": "NaN"}}
    send(type="completed", **fields, dir=str(work / "result"), files=files)


def store_many_checkpoints(work: Path, first: int) -> None:
    """Send five checkpoints, of which the last two even ones are retained, and crash."""
    for step in range(first, first + 5):
        retained = [epoch for epoch in range(1, step + 1) if epoch % 2 == 0][-2:]
        tags = [*(["best"] if step == 1 else []), *(["kept"] if step % 2 == 0 else [])]
        send_checkpoint(work, step, *tags, retained=retained)
    os.kill(os.getpid(), signal.SIGKILL)


def store_artifacts(work: Path) -> None:
    for number, content in enumerate(("one", "two"), 1):
        send_artifact(work / str(number), "metrics.csv", content)
    send_artifact(work / "3", "essential.csv", "three", is_optional=False)
    send_finished(work)


def wait_for_stop_request(work: Path) -> None:
    send_metrics(1, 0.5)
    mode = receive()["mode"]
    send_checkpoint(work, 7)
    if mode == "finish":
        send_finished(work)
    else:
        send(type="stopped", mode=mode)
        sys.exit(75)


def stop_at_milestone(work: Path, epoch: int = 3) -> None:
    send_checkpoint(work, epoch)
    send(type="milestone", epoch=epoch)
    sys.exit(75)


def reach_milestone(work: Path, start: dict[str, Any], *, is_killed: bool) -> None:
    """Stop at the milestone of epoch 3, unless the job paused there before."""
    if start["milestone_epoch"] >= 3:
        succeed(work)
    elif is_killed and start["attempt"] == 1:
        send_checkpoint(work, 3)
        wait_until_stored(work / "checkpoints" / "3")
        os.kill(os.getpid(), signal.SIGKILL)
    else:
        stop_at_milestone(work)


def reach_milestone_when_requested(work: Path) -> None:
    """Stop at the milestone although the supervisor has just requested another stop."""
    send_metrics(1, 0.5)
    receive()
    stop_at_milestone(work)


def fail_internally(work: Path, step: int) -> None:
    send_checkpoint(work, step)
    wait_until_stored(work / "checkpoints" / str(step))
    send_failed("internal", "OSError", "see the log")


def diverge(work: Path) -> None:
    send_checkpoint(work, 1, "best")
    send_failed("diverged", "loss is NaN", "lower lr", {"code": "x", "step": 3})


def exceed_gpu_memory(work: Path, spec: dict[str, Any]) -> None:
    if spec["name"] == "greedy":
        send_failed("gpu_out_of_memory", "CUDA out of memory", "batch_size below 16")
    send_finished(work)


def main() -> None:
    start = receive()
    work, attempt = Path(start["work_dir"]), start["attempt"]
    resumed = None
    if start["resume_dir"] is not None:
        resumed = int((Path(start["resume_dir"]) / "weights.safetensors").read_text().split()[1])
    environment = {"device": start.get("device"), "visible": os.environ.get("CUDA_VISIBLE_DEVICES")}
    runtime = {"device": "cpu", "resumed_from_step": resumed, "environment": json.dumps(environment)}
    send(type="started", runtime=runtime)
    next_step = (resumed or 0) + 1
    match PLAN.split(" MiB:")[0]:
        case "succeed":
            succeed(work)
        case "crash once" if attempt > 1:
            succeed(work)
        case "crash" | "crash once":
            crash(work, attempt)
        case "complete":
            complete(work, start)
        case "store many checkpoints":
            store_many_checkpoints(work, next_step)
        case "store artifacts":
            store_artifacts(work)
        case "diverge":
            diverge(work)
        case "fail internally":
            fail_internally(work, next_step)
        case "run out of GPU memory if greedy":
            exceed_gpu_memory(work, start["spec"])
        case "run out of memory":
            send_failed("host_out_of_memory", "no memory", "less")
        case "fill the disk":
            fill_disk(work, [int(size) * 2**20 for size in PLAN.split(" MiB:")[1].split()], resumed or 0)
            send_finished(work)
        case "stop when requested":
            wait_for_stop_request(work)
        case "reach a milestone":
            reach_milestone(work, start, is_killed=False)
        case "be killed at a milestone":
            reach_milestone(work, start, is_killed=True)
        case "reach a milestone when requested":
            reach_milestone_when_requested(work)
        case "ignore stop requests":
            send_metrics(1, 0.5)
            time.sleep(600)
        case "send an invalid message":
            os.write(1, b"what?\n")
            time.sleep(600)
        case _:
            raise ValueError(PLAN)


main()
