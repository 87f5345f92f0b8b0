"""Records the outcome of an attempt: a model, a result, a failure, a lost attempt or a release of the job."""

import json
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from core.db.repos.attempts import AttemptRepo
from core.db.repos.checkpoints import WEIGHTS
from core.db.repos.jobs import get_result_key
from core.db.repos.models import ModelRepo
from core.db.repos.variants import VariantRepo
from core.db.tables import JobRow, ModelVariantRow, ModelVersionRow
from core.storage import Storage
from worker.control.fenced_transactions import FencedTransactions
from worker.control.file_recorder import FileRecorder, dump_digests
from worker.control.storable_json import strip_unstorable
from worker.protocol import JobCompleted, TrainingFinished


class CompletionRecorder:
    """Writes the last transaction of an attempt. Every method raises LostLease if the attempt has lost its lease."""

    def __init__(self, transactions: FencedTransactions, storage: Storage, files: FileRecorder, job: JobRow) -> None:
        self._transactions = transactions
        self._storage = storage
        self._files = files
        self._job = job

    def finish(self, message: TrainingFinished, dataset: dict[str, Any]) -> None:
        """Publish the bundle. Then complete the job and register the model version in one transaction.

        Raises:
            StorageFull: there is not enough space for the bundle.
        """
        key = f"{self._files.attempt_key}/bundle"
        description = (Path(message.dir) / "bundle.json").read_text()
        self._files.publish_folder(message.dir, key)
        self._transactions.run(lambda session: self._register_model(session, message, key, description, dataset))

    def complete(self, message: JobCompleted) -> None:
        """Complete a job that does not train a model, such as an evaluation. Publish its files, if any, first.

        Raises:
            StorageFull: there is not enough space for the files.
        """
        result = strip_unstorable(message.result)
        if message.files:
            result |= {"files": dump_digests(message.files)}
        if message.dir is not None:
            self._storage.publish(Path(message.dir), get_result_key(self._job))

        def write(session: Session) -> None:
            if self._job.kind == "variant":
                VariantRepo(session).put(self._build_variant(message), self._job.token)
            AttemptRepo(session).complete_with_result(self._job.id, self._job.token, result, message.metrics)

        self._transactions.run(write)

    def fail(self, failure: dict[str, Any]) -> None:
        """Mark the job as failed. It is not retried."""
        failure = strip_unstorable(failure)
        self._transactions.run(lambda session: AttemptRepo(session).fail(self._job.id, self._job.token, failure))

    def record_loss(self, failure: dict[str, Any], max_attempts: int) -> None:
        """Count a lost attempt. The job is queued again, or fails if it has reached the retry limit."""
        failure = strip_unstorable(failure)
        self._transactions.run(
            lambda session: AttemptRepo(session).requeue_or_fail(self._job.id, self._job.token, failure, max_attempts)
        )

    def release(self, reason: str) -> None:
        """End the attempt without counting it as lost. The job is cancelled, paused or queued again."""
        self._transactions.run(lambda session: AttemptRepo(session).release(self._job.id, self._job.token, reason))

    def _register_model(
        self, session: Session, message: TrainingFinished, key: str, description: str, dataset: dict[str, Any]
    ) -> None:
        files = dump_digests(message.files)
        version = ModelVersionRow(
            name=self._job.model_name,
            job_id=self._job.id,
            key=key,
            files=files,
            sha256=files[WEIGHTS]["sha256"],
            size_bytes=sum(file["size_bytes"] for file in files.values()),
            bundle=json.loads(description),
            spec=self._job.spec,
            metrics=message.metrics,
            dataset=dataset,
            num_parameters=message.num_parameters,
        )
        version = ModelRepo(session).register(version, self._job.token)
        attempts = AttemptRepo(session)
        runtime = attempts.check_lease(self._job.id, self._job.token).runtime or {}
        attempts.set_runtime(self._job.id, self._job.token, {**runtime, "evaluation": message.evaluation})
        attempts.complete_with_model(
            self._job.id, self._job.token, version.version, message.metrics, message.stop_reason
        )

    def _build_variant(self, message: JobCompleted) -> ModelVariantRow:
        name, _, version = self._job.spec["model"].partition("@")
        return ModelVariantRow(
            name=name,
            version=int(version),
            format=self._job.spec["format"],
            job_id=self._job.id,
            key=get_result_key(self._job),
            files=dump_digests(message.files),
            size_bytes=sum(file.size_bytes for file in message.files.values()),
            measured=strip_unstorable(message.result),
        )
