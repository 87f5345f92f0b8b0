"""Records the outcome of an attempt: a model, a result, a failure, a lost attempt or a release of the job."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from core.db.registry_tables import JobBundleRow
from core.db.repos.attempts import AttemptRepo
from core.db.repos.automatic_variants import AutomaticVariantRepo
from core.db.repos.checkpoints import WEIGHTS, CheckpointRepo
from core.db.repos.events import EventRepo
from core.db.repos.job_bundles import JobBundleRepo
from core.db.repos.jobs import get_result_key
from core.db.repos.models import ModelRepo
from core.db.repos.variants import VariantRepo
from core.db.session import on_commit
from core.db.tables import JobRow, ModelVariantRow, ModelVersionRow
from core.events import Event, EventType
from core.failures import FAILURES
from core.job_log import describe_failure
from core.jobs import EPOCH_KINDS, JobState
from core.redaction import redact_credentials
from core.spec import AUTO
from core.storage import Storage
from core.storage.deletion import delete_stored_files
from worker.control import job_log
from worker.control.fenced_transactions import FencedTransactions
from worker.control.file_recorder import FileRecorder, dump_digests
from worker.control.progress_recorder import build_log_entry
from worker.control.reproduction import compare_with_original, describe_reproduction
from worker.control.storable_json import strip_unstorable
from worker.control.timeouts import sum_active_seconds
from worker.protocol import JobCompleted, TrainingFinished


class CompletionRecorder:
    """Writes the last transaction of an attempt. Every method raises LostLease if the attempt has lost its lease.

    Args:
        queues_variants: whether a job that chooses a variant is queued for each version that is registered.
    """

    def __init__(
        self,
        transactions: FencedTransactions,
        storage: Storage,
        files: FileRecorder,
        job: JobRow,
        *,
        queues_variants: bool = False,
    ) -> None:
        self._transactions = transactions
        self._storage = storage
        self._files = files
        self._job = job
        self._queues_variants = queues_variants

    def finish(self, message: TrainingFinished, dataset: dict[str, Any]) -> None:
        """Publish the bundle. Then complete the job and register the model version in one transaction.

        If the job has already registered the same weights, it keeps that version and registers no other one. A job that
        repeats a training publishes nothing: its result is the comparison with the original.

        Raises:
            StorageFull: there is not enough space for the bundle.
        """
        if self._job.kind == "reproduce":
            result = self._transactions.read(lambda session: self._compare(session, message))
            self._transactions.run(lambda session: self._complete_reproduction(session, message, result))
            return
        key = f"{self._files.attempt_key}/bundle"
        description = (Path(message.dir) / "bundle.json").read_text()
        self._files.publish_folder(message.dir, key)
        self._transactions.run(lambda session: self._complete_training(session, message, key, description, dataset))

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
                self._store_variant(session, message)
            success = job_log.describe_success(self._measure_running_s(session), self._job.attempt)
            self._log(session, "info", *job_log.describe_result(message), success)
            AttemptRepo(session).complete_with_result(self._job.id, self._job.token, result, message.metrics)

        self._transactions.run(write)

    def fail(self, failure: dict[str, Any]) -> None:
        """Mark the job as failed. It is not retried. The last line of its log says why."""
        failure = strip_unstorable(failure)

        def write(session: Session) -> None:
            complete = failure
            if failure.get("hint") == FAILURES[failure["code"]].hint:  # other hints are complete
                complete = {**failure, "hint": failure["hint"] + self._describe_checkpoint(session, failure["code"])}
            self._log(session, "error", describe_failure(complete, self._measure_running_s(session)))
            AttemptRepo(session).fail(self._job.id, self._job.token, complete)

        self._transactions.run(write)

    def record_loss(self, failure: dict[str, Any], max_attempts: int, detail: str = "") -> None:
        """Count a lost attempt. The job is queued again, or fails if it has reached the retry limit.

        `detail`: a sentence for the job's log on how the attempt ended.
        """
        failure, detail = strip_unstorable(failure), strip_unstorable(redact_credentials(detail))
        job_id, token = self._job.id, self._job.token
        self._transactions.run(
            lambda session: AttemptRepo(session).requeue_or_fail(job_id, token, failure, max_attempts, detail)
        )

    def release(self, reason: str) -> None:
        """End the attempt without counting it as lost. The job is cancelled, paused or queued again."""

        def write(session: Session) -> None:
            self._log(session, "info", job_log.describe_release(reason, self._measure_running_s(session)))
            AttemptRepo(session).release(self._job.id, self._job.token, reason)

        self._transactions.run(write)

    def pause_at_milestone(self, epoch: int) -> None:
        """Pause the job at a milestone. If a client has requested another stop, release the job instead.

        A job that is to finish is queued again: the next attempt completes it without another epoch.
        """

        def write(session: Session) -> None:
            attempts, job_id, token = AttemptRepo(session), self._job.id, self._job.token
            reason = _find_release_reason(attempts.check_lease(job_id, token))
            running_s = self._measure_running_s(session)
            if reason is None:
                self._log(session, "info", job_log.describe_milestone(epoch, running_s))
                attempts.pause_at_milestone(job_id, token, epoch)
            else:
                self._log(session, "info", job_log.describe_release(reason, running_s))
                attempts.release(job_id, token, reason)

        self._transactions.run(write)

    def _log(self, session: Session, level: str, *lines: str) -> None:
        """Append lines to the job's log. Raise LostLease if another attempt holds the lease of the job."""
        AttemptRepo(session).check_lease(self._job.id, self._job.token)
        EventRepo(session).append(self._job.id, [build_log_entry(level, line) for line in lines])

    def _measure_running_s(self, session: Session) -> float:
        """Return the running time of all attempts of the job up to now."""
        events = EventRepo(session)
        end = Event(self._job.id, 0, EventType.STATE, events.get_time(), {"to": None})
        return sum_active_seconds([*events.list_transitions(self._job.id), end])

    def _describe_checkpoint(self, session: Session, code: str) -> str:
        """Return the end of a failure's hint: which checkpoint of the job is retained, if any."""
        if self._job.kind not in EPOCH_KINDS or not FAILURES[code].mentions_checkpoint:
            return ""
        checkpoints = CheckpointRepo(session).list_resumable(self._job.id)
        if not checkpoints:
            return " The job has no checkpoint."
        newest = checkpoints[0]
        return f" Checkpoint {newest.number} of epoch {newest.epoch}, step {newest.step}, is retained."

    def _complete_training(
        self, session: Session, message: TrainingFinished, key: str, description: str, dataset: dict[str, Any]
    ) -> None:
        version = self._find_unchanged_model(session, message, key)
        is_new = version is None
        if version is None:
            version = self._store_bundle(session, message, key, json.loads(description), dataset)
        ref = None if version is None else f"{version.name}@{version.version}"
        lines = job_log.describe_training_result(message, ref, is_new=is_new)
        if version is not None and is_new and self._queues_variants:
            lines += self._queue_variant(session, version)
        self._end_training(session, message, lines, None if version is None else version.version)

    def _compare(self, session: Session, message: TrainingFinished) -> dict[str, Any]:
        """Compare the job with its original. It takes a while, so the transaction that completes the job does not."""
        return compare_with_original(session, self._job, message.files[WEIGHTS].sha256, message.metrics)

    def _complete_reproduction(self, session: Session, message: TrainingFinished, result: dict[str, Any]) -> None:
        lines = [*job_log.describe_training_end(message), *describe_reproduction(result)]
        self._end_training(session, message, lines, None, result)

    def _end_training(
        self,
        session: Session,
        message: TrainingFinished,
        lines: Sequence[str],
        model_version: int | None,
        result: dict[str, Any] | None = None,
    ) -> None:
        """Complete the job with the evaluation of its weights. Raises LostLease."""
        attempts, job_id, token = AttemptRepo(session), self._job.id, self._job.token
        runtime = attempts.check_lease(job_id, token).runtime or {}
        attempts.set_runtime(job_id, token, {**runtime, "evaluation": message.evaluation})
        best = None if message.best_epoch is None else message.best_epoch.model_dump()
        success = job_log.describe_success(self._measure_running_s(session), self._job.attempt)
        self._log(session, "info", *lines, success)
        attempts.complete_with_model(job_id, token, model_version, message.metrics, message.stop_reason, best, result)

    def _store_bundle(
        self,
        session: Session,
        message: TrainingFinished,
        key: str,
        description: dict[str, Any],
        dataset: dict[str, Any],
    ) -> ModelVersionRow | None:
        """Register the bundle. If the job registers no model, keep the bundle with the job and return None."""
        files = dump_digests(message.files)
        columns: dict[str, Any] = {
            "job_id": self._job.id,
            "key": key,
            "files": files,
            "sha256": files[WEIGHTS]["sha256"],
            "size_bytes": sum(file["size_bytes"] for file in files.values()),
            "bundle": description,
            "metrics": message.metrics,
            "dataset": dataset,
            "num_parameters": message.num_parameters,
        }
        if self._job.spec.get("register", True):
            version = ModelVersionRow(name=self._job.model_name, spec=self._job.spec, **columns)
            return ModelRepo(session).register(version, self._job.token)
        replaced_key = JobBundleRepo(session).put(JobBundleRow(token=self._job.token, **columns))
        if replaced_key is not None:
            on_commit(session, lambda: delete_stored_files(self._storage, [replaced_key]))
        return None

    def _find_unchanged_model(self, session: Session, message: TrainingFinished, key: str) -> ModelVersionRow | None:
        """Return the version that the job has already registered with the same weights, if any.

        For example, no epoch of an extension is better than the best epoch before. The published bundle is deleted.
        """
        registered = ModelRepo(session).find_registered(self._job.id, message.files[WEIGHTS].sha256)
        if registered is None:
            return None
        ref = f"{registered.name}@{registered.version}"
        text = f"The extension did not change the registered weights, so {ref} remains the model of this job."
        AttemptRepo(session).add_warning(self._job.id, self._job.token, text)
        on_commit(session, lambda: delete_stored_files(self._storage, [key]))
        return registered

    def _queue_variant(self, session: Session, version: ModelVersionRow) -> list[str]:
        """Queue the job that chooses the variant of a new version. Return a line of the log."""
        training = AttemptRepo(session).check_lease(self._job.id, self._job.token)
        queued = AutomaticVariantRepo(session).queue_job(training, version)
        return [job_log.describe_queued_variant(None if queued is None else queued.name)]

    def _store_variant(self, session: Session, message: JobCompleted) -> None:
        """Store the variant of the job. A job of the format `auto` replaces the choice of an earlier one."""
        repo, variant = VariantRepo(session), self._build_variant(message) if message.files else None
        if self._job.spec["format"] == AUTO:
            name, _, version = self._job.spec["model"].partition("@")
            repo.clear_choice(name, int(version))
        if variant is not None:
            repo.put(variant, self._job.token)

    def _build_variant(self, message: JobCompleted) -> ModelVariantRow:
        name, _, version = self._job.spec["model"].partition("@")
        return ModelVariantRow(
            name=name,
            version=int(version),
            format=message.result["format"],
            job_id=self._job.id,
            key=get_result_key(self._job),
            files=dump_digests(message.files),
            size_bytes=sum(file.size_bytes for file in message.files.values()),
            measured=strip_unstorable(message.result),
        )


def _find_release_reason(job: JobRow) -> str | None:
    """Return why a job is released that has reached a milestone, or None if it pauses."""
    if job.state is JobState.RUNNING:
        return None if job.stop_request is None else "finish requested"
    return "cancelled" if job.state is JobState.CANCELLING else "paused"
