"""Reads what a job has produced: metrics, logs, checkpoints, artifacts and predictions of its checkpoints."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from candela import frames
from candela.aio.concurrency import run_blocking
from candela.aio.transport import AsyncTransport
from candela.instances import Body, build_images_body, build_instances_body, build_rows_body, set_timeout
from candela.result_types import CheckpointPredictions, LogLine
from candela.synonyms import SuggestsNames
from candela.types import Artifact, Checkpoint, Image, JobResponse, Series, UsageSeries

if TYPE_CHECKING:
    from pandas import DataFrame

Json = dict[str, Any]
CheckpointChoice = Literal["latest", "best"]


class AsyncJobResults(SuggestsNames):
    """The methods of a job that read its results."""

    def __init__(self, transport: AsyncTransport, response: JobResponse) -> None:
        self._transport = transport
        self.response = response

    @property
    def id(self) -> str:
        return self.response["id"]

    async def metrics(
        self,
        *,
        name: str | None = None,
        split: str | None = None,
        since_step: int | None = None,
        max_points: int | None = None,
    ) -> list[Series]:
        """Return the metrics of the job, one series per metric and split.

        Args:
            name: only this metric, such as `loss`.
            split: only `train`, `valid` or `test`.
            since_step: only points after this step.
            max_points: maximum number of points per series; the lowest and the highest value are retained.
        """
        params = {"name": name, "split": split, "since_step": since_step, "max_points": max_points}
        response = await self._transport.request_json("GET", f"/v1/jobs/{self.id}/metrics", params=params)
        return list(response["series"])

    async def metrics_frame(self, *, name: str | None = None, split: str | None = None) -> "DataFrame":
        """Return the metrics as a pandas DataFrame: one row per step, one column per split and metric.

        The index is `step`. The columns are `epoch` and, for example, `train_loss` and `valid_accuracy`.

        Raises:
            CandelaError: pandas is not installed.
        """
        frames.require_pandas("metrics_frame")
        return frames.build_metrics_frame(await self.metrics(name=name, split=split))

    async def usage(self, *, max_points: int = 1000) -> list[UsageSeries]:
        """Return processor time, memory, waiting time and throughput of the training as series of samples."""
        params = {"max_points": max_points}
        response = await self._transport.request_json("GET", f"/v1/jobs/{self.id}/usage", params=params)
        return list(response["series"])

    async def lineage(self) -> Json:
        """Return everything on which the job depends, as a graph of jobs, datasets, models and checkpoints."""
        lineage: Json = await self._transport.request_json("GET", f"/v1/jobs/{self.id}/lineage")
        return lineage

    async def usage_frame(self, *, max_points: int = 1000) -> "DataFrame":
        """Return the usage as a pandas DataFrame with the index `step`: one column per quantity.

        Raises:
            CandelaError: pandas is not installed.
        """
        frames.require_pandas("usage_frame")
        return frames.build_usage_frame(await self.usage(max_points=max_points))

    async def logs(self, *, after: int | None = None, limit: int | None = None, last: int | None = None) -> str:
        """Return the log as text: the lines after the one with the `seq` `after`, or the `last` lines."""
        headers = {"Accept": "text/plain"}
        params = {"after": after, "limit": limit, "last": last}
        response = await self._transport.request("GET", f"/v1/jobs/{self.id}/logs", params=params, headers=headers)
        return response.text

    async def log_lines(
        self, *, after: int | None = None, limit: int | None = None, last: int | None = None
    ) -> list[LogLine]:
        """Return the log as lines with their time and level. Pass the last `seq` as `after` to get the next lines."""
        headers = {"Accept": "application/json"}
        params = {"after": after, "limit": limit, "last": last}
        path = f"/v1/jobs/{self.id}/logs"
        response = await self._transport.request_json("GET", path, params=params, headers=headers)
        return list(response["items"])

    async def checkpoints(self) -> list[Checkpoint]:
        """Return the checkpoints of the job, oldest first."""
        return list((await self._transport.request_json("GET", f"/v1/jobs/{self.id}/checkpoints"))["items"])

    async def artifacts(self) -> list[Artifact]:
        """Return the artifacts of the job, which `download_artifact` downloads."""
        return list((await self._transport.request_json("GET", f"/v1/jobs/{self.id}/artifacts"))["items"])

    async def read_artifact(self, name: str) -> Any:  # noqa: ANN401 - any JSON value
        """Return the content of a JSON artifact, such as `confusion_matrix.json`."""
        return await self._transport.request_json("GET", f"/v1/jobs/{self.id}/artifacts/{name}")

    async def download_artifact(self, name: str, path: str | os.PathLike[str]) -> Path:
        """Download an artifact to a file, or to a folder, where it has its name. Return the path of the file."""
        return await self._transport.download(f"/v1/jobs/{self.id}/artifacts/{name}", path, name)

    async def download_file(self, name: str, path: str | os.PathLike[str]) -> Path:
        """Download a file of `result["files"]`, such as `predictions.csv`. Return the path of the file."""
        return await self._transport.download(f"/v1/jobs/{self.id}/files/{name}", path, name)

    async def download_weights(self, number: int, path: str | os.PathLike[str]) -> Path:
        """Download the weights of a checkpoint as a safetensors file. Return the path of the file.

        In a folder, the file is called, for example, `checkpoint-3.safetensors`.
        """
        url = f"/v1/jobs/{self.id}/checkpoints/{number}/weights"
        return await self._transport.download(url, path, f"checkpoint-{number}.safetensors")

    async def predict(
        self,
        images: Image | Sequence[Image],
        *,
        checkpoint: CheckpointChoice = "latest",
        top_k: int | None = None,
        test_time_augmentation: str | None = None,
        timeout_s: float | None = None,
    ) -> CheckpointPredictions:
        """Predict images with a checkpoint, also while the job runs. The arguments are those of `Models.predict`.

        `checkpoint` is `latest`, or `best` by the metric that a callback monitors.
        """
        body = await run_blocking(build_images_body, images)
        params = {"checkpoint": checkpoint, "top_k": top_k, "test_time_augmentation": test_time_augmentation}
        return await self._predict(body, params, timeout_s)

    async def predict_instances(
        self,
        instances: Sequence[Mapping[str, Any]],
        *,
        checkpoint: CheckpointChoice = "latest",
        top_k: int | None = None,
        test_time_augmentation: str | None = None,
        timeout_s: float | None = None,
    ) -> CheckpointPredictions:
        """Predict instances with a checkpoint: `{"image": <base64 or bytes>}` or `{"values": […]}`."""
        params = {"checkpoint": checkpoint, "test_time_augmentation": test_time_augmentation}
        return await self._predict(build_instances_body(instances, top_k), params, timeout_s)

    async def predict_rows(
        self,
        rows: Sequence[Mapping[str, Any]],
        *,
        checkpoint: CheckpointChoice = "latest",
        top_k: int | None = None,
        timeout_s: float | None = None,
    ) -> CheckpointPredictions:
        """Predict table rows with a checkpoint."""
        return await self._predict(build_rows_body(rows, top_k), {"checkpoint": checkpoint}, timeout_s)

    async def _predict(self, body: Body, params: Mapping[str, Any], timeout_s: float | None) -> CheckpointPredictions:
        response: CheckpointPredictions = await self._transport.request_json(
            "POST",
            f"/v1/jobs/{self.id}/predict",
            params=params,
            repeatable=True,
            **set_timeout(body, timeout_s),
        )
        return response
