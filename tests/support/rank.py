"""One of several processes that train together: `python -m tests.support.rank JOB`; rank 0 tells how it went."""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from core.datasets.packed import Packed
from core.spec import JobSpec
from tests.support.training import InterruptAt, Memory, cpu, weights_hash
from worker.assemble import assemble
from worker.engine import snapshot
from worker.engine.ranks import Ranks
from worker.reports import Reporter, Snapshots


def main() -> None:
    words = json.loads(sys.argv[1])
    folder, stop_at = Path(words["folder"]), words.get("stop_at")
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    ranks, channel = Ranks(), Memory()
    spec = JobSpec.model_validate(words["spec"])
    run = assemble(spec, Packed.open(Path(words["dataset"])), cpu())
    if words.get("resume"):
        torch.rand(9 + ranks.rank)
        snapshot.restore(next((folder / "snapshots").iterdir()), run.network, run.parts(), torch.device("cpu"))
    run = ranks.share(run)
    hung = [Reporter(channel, run, every_s=0.0), *ranks.observers(run, spec.seed)]
    if stop_at is not None and ranks.rank == 1:  # whoever is asked, all leave
        hung.insert(0, InterruptAt(stop_at))
    if ranks.rank == 0:
        hung.append(Snapshots(channel, run, folder / "snapshots", {}, (run.guard.check,), every_s=1e9))
    run.loop(hung).fit(run.state)
    if ranks.rank == 0:
        points = [[*place, value] for place, value in channel.points().items()]
        told = {"points": points, "weights": weights_hash(run.network, folder), "step": run.state.step}
        (folder / "told.json").write_text(json.dumps(told))
    dist.barrier()
    dist.destroy_process_group()


main()
