"""Defines the context of a running job of any kind: its start message, device, channel and folders."""

from dataclasses import dataclass, replace
from pathlib import Path

from core.datasets.packed import PackedDataset
from worker.engine import snapshot
from worker.engine.device import Placement, build_placement, use_device, use_threads
from worker.engine.distributed import DistributedContext
from worker.protocol import Start
from worker.trainer.artifacts import Artifacts
from worker.trainer.channel import Channel
from worker.trainer.error_classification import WrongDataset


@dataclass(frozen=True)
class JobContext:
    """The context of a running job.

    Attributes:
        start: the supervisor's start message.
        placement: the device, the precision and the number of threads.
        channel: the connection to the supervisor.
        snapshot_every_s: seconds between two snapshots within an epoch. Default: 60.
    """

    start: Start
    placement: Placement
    channel: Channel
    snapshot_every_s: float = 60.0

    @property
    def work_dir(self) -> Path:
        return Path(self.start.work_dir)

    @property
    def is_on_one_cpu(self) -> bool:
        """Whether the job runs in one process on a CPU: there, steps can be measured before a training."""
        return self.placement.device.type == "cpu" and not DistributedContext().is_distributed

    @property
    def result_dir(self) -> Path:
        """The folder for the files of the job's result. The job creates this folder."""
        return self.work_dir / "answer"

    @property
    def model_dir(self) -> Path:
        """The folder of the bundle of the model that the job uses."""
        assert self.start.model_dir is not None  # noqa: S101 - the supervisor sends it if the job uses a model
        return Path(self.start.model_dir)

    def open_dataset(self) -> PackedDataset:
        """Open the job's dataset.

        Raises:
            WrongDataset: the dataset's content hash differs from the content hash in the start message.
        """
        packed = PackedDataset.open(Path(self.start.dataset_dir))
        expected = self.start.dataset.get("content_hash")
        if expected is not None and packed.meta.content_hash != expected:
            raise WrongDataset(f"the content hash of the dataset is {packed.meta.content_hash}; expected {expected}")
        return packed

    def create_artifacts(self) -> Artifacts:
        """Create a writer for the job's artifacts. Each process of a distributed run uses a separate folder."""
        return Artifacts(self.channel, self.work_dir / f"artifacts{DistributedContext().rank or ''}")


def create_context(start: Start, channel: Channel, *, snapshot_every_s: float = 60.0) -> JobContext:
    """Create the context of a job. This also configures torch to use the job's device and number of threads."""
    placement = choose_placement(start, channel)
    use_threads(placement.threads)
    use_device(placement.device)
    return JobContext(start, placement, channel, snapshot_every_s)


def choose_placement(start: Start, channel: Channel) -> Placement:
    """Return the device, the precision and the number of threads for the job.

    A resumed run keeps its precision and number of threads, because changing either affects the results. With the
    number "auto", a training may use fewer threads, see `thread_finder`; with the precision "auto", it may use
    fp32 instead of bf16, see `precision_finder`.
    """
    spec = start.spec
    num_threads = DistributedContext().choose_num_threads(start.threads or spec.threads, start.worker_slots)
    preferred = build_placement(start.device or spec.device, spec.precision, num_threads)
    if start.resume_dir is None:
        # bf16 may have been chosen on another processor. Without its instructions it is many times slower than fp32.
        return replace(preferred, precision="fp32") if start.precision == "fp32" else preferred
    metadata = snapshot.read_metadata(Path(start.resume_dir))
    resumed = Placement(preferred.device, metadata["precision"], metadata["threads"])
    if resumed.threads != preferred.threads and not (spec.threads == "auto" and resumed.threads == 1):
        channel.send_log(
            f"The run continues with {resumed.threads} threads, as before; this worker's default is "
            f"{preferred.threads}.",
            "warning",
        )
    if resumed.precision != preferred.precision and spec.precision == "auto" and resumed.precision != "fp32":
        channel.send_log(
            f"The run continues in {resumed.precision}, as before. This machine does not accelerate it: the steps take "
            "longer.",
            "warning",
        )
    return resumed
