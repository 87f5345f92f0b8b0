"""Applies results and decisions to a sweep, each in one transaction, and only if the sweep has not changed."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import structlog
from sqlalchemy.orm import Session

from core.db.repos.sweep_jobs import SweepJobRepo
from core.db.repos.sweep_trials import NewTrial, SweepTrialRepo
from core.db.repos.sweeps import SweepRepo
from core.db.session import SessionFactory, on_commit, transaction
from core.db.sweep_tables import SweepRow
from core.errors import InvalidSpec, NotFound
from core.jobs import StopRequest
from core.spec import JobSpec
from core.storage import Storage
from core.sweeps.decisions import FinishSweep, PromoteTrial, StartTrial, StopTrial
from core.sweeps.retained_files import UnneededFiles, find_unneeded
from core.sweeps.sampling import Suggestion
from core.sweeps.states import SweepState, TrialState
from core.sweeps.trial_jobs import build_trial_jobs
from core.sweeps.trials import Scores, SweepTrial
from worker.maintenance.sweeps.file_deletion import find_deletion
from worker.maintenance.sweeps.results import TrialResult
from worker.maintenance.sweeps.snapshot import SweepSnapshot

log = structlog.get_logger()
MAX_JOBS = 50
"""Jobs that are stopped or continued in one transaction: on SQLite, it blocks all other writers."""


class SweepChanged(Exception):
    """The sweep has changed since its snapshot, so that nothing is written."""


class SweepSteps:
    """Writes the steps of sweeps. Every method returns whether it has changed the sweep, or raises SweepChanged.

    Args:
        wake_relay: called after a commit with a new outbox row, to wake this process's outbox relay.
    """

    def __init__(self, sessions: SessionFactory, storage: Storage, wake_relay: Callable[[], None]) -> None:
        self._sessions = sessions
        self._storage = storage
        self._wake_relay = wake_relay

    def record_results(self, snapshot: SweepSnapshot, results: Sequence[TrialResult]) -> bool:
        """Store the results of trials. Delete the files of trials that cannot be continued any more."""
        batch, scores = results[:MAX_JOBS], Scores(snapshot.spec.objective)
        before = {trial.number: trial for trial in snapshot.trials}
        after = before | {each.number: _apply_result(before[each.number], each) for each in batch}
        best = scores.find_best(after.values())
        unneeded = find_unneeded(snapshot.spec, after.values())
        unneeded = unneeded.subtract(find_unneeded(snapshot.spec, before.values()))

        def write(session: Session, sweep: SweepRow) -> None:
            repo = SweepTrialRepo(session)
            for result in batch:
                log.info("sweep.trial_ended", sweep_id=sweep.id, **result._asdict())
                if result.score is not None:
                    best_score = scores.get_best_score(after[result.number])
                    repo.record_score(sweep.id, result.number, result.state, result.score, best=best_score)
                elif result.state is TrialState.REFUSED:
                    repo.refuse(sweep, result.number, result.reason)
                else:
                    repo.end(sweep.id, result.number, result.state, result.reason)
            sweep.best_trial = None if best is None else best.number
            sweep.best_score = None if best is None else scores.get_best_score(best)
            if sweep.state is not SweepState.FINISHING:  # the end decides which of all trials are kept
                self._delete_files(session, sweep.id, unneeded)

        return self._write(snapshot, write)

    def start_trial(self, snapshot: SweepSnapshot, decision: StartTrial, suggestion: Suggestion) -> bool:
        """Start a trial, or store that its parameters give no valid job."""
        reason, jobs = "", list[JobSpec]()
        try:
            jobs = build_trial_jobs(
                snapshot.spec,
                suggestion.parameters,
                name=snapshot.row.name,
                model=snapshot.row.model_name,
                number=decision.number,
                first_epoch=0 if decision.parent is None else decision.parent[1],
            )
        except InvalidSpec as error:
            reason = "; ".join(f"{pointer} {detail}" for pointer, detail in error.errors) or error.detail
        trial = NewTrial(
            decision.number, decision.epochs, suggestion.parameters, suggestion.source, jobs, decision.parent
        )

        def write(session: Session, sweep: SweepRow) -> None:
            repo = SweepTrialRepo(session)
            if not jobs:
                repo.add_refused(sweep, trial, reason)
                return
            try:
                repo.start(sweep, trial)
            except NotFound as error:
                repo.add_refused(sweep, trial, error.detail)

        return self._write(snapshot, write)

    def promote_trial(self, snapshot: SweepSnapshot, decision: PromoteTrial) -> bool:
        """Continue a trial up to its next milestone, or to the same one after its worker was lost."""

        def write(session: Session, sweep: SweepRow) -> None:
            SweepTrialRepo(session).promote(sweep, decision.number, decision.epochs, snapshot.spec.repeats)
            on_commit(session, self._wake_relay)

        return self._write(snapshot, write)

    def stop_trial(self, snapshot: SweepSnapshot, decision: StopTrial) -> bool:
        """End a trial, and delete its checkpoints."""

        def write(session: Session, sweep: SweepRow) -> None:
            SweepTrialRepo(session).end(sweep.id, decision.number, TrialState.STOPPED, decision.reason)
            self._delete_files(session, sweep.id, UnneededFiles(frozenset({decision.number}), frozenset()))

        return self._write(snapshot, write)

    def finish(self, snapshot: SweepSnapshot, decision: FinishSweep) -> bool:
        """End the sweep: no trial starts or continues any more."""
        log.info("sweep.finishing", sweep_id=snapshot.row.id, reason=decision.reason)
        return self._write(snapshot, lambda session, sweep: SweepRepo(session).start_finishing(sweep, decision.reason))

    def stop_jobs(self, snapshot: SweepSnapshot, job_ids: Sequence[str], stop_request: StopRequest) -> bool:
        """Pause or cancel jobs."""
        batch = job_ids[:MAX_JOBS]
        return bool(batch) and self._write(snapshot, lambda session, _: SweepJobRepo(session).stop(batch, stop_request))

    def resume_jobs(self, snapshot: SweepSnapshot, job_ids: Sequence[str]) -> bool:
        """Continue jobs that the sweep has paused."""
        batch = job_ids[:MAX_JOBS]

        def write(session: Session, _: SweepRow) -> None:
            SweepJobRepo(session).resume(batch)
            on_commit(session, self._wake_relay)

        return bool(batch) and self._write(snapshot, write)

    def _write(self, snapshot: SweepSnapshot, write: Callable[[Session, SweepRow], None]) -> bool:
        with self.change(snapshot) as (session, sweep):
            write(session, sweep)
        return True

    @contextmanager
    def change(self, snapshot: SweepSnapshot) -> Iterator[tuple[Session, SweepRow]]:
        """Lock the sweep for a transaction, and increment its revision at the end.

        Raises:
            SweepChanged: the sweep has changed since the snapshot.
        """
        with transaction(self._sessions) as session:
            repo = SweepRepo(session)
            sweep = repo.lock_unchanged(snapshot.row.id, snapshot.row.revision)
            if sweep is None:
                raise SweepChanged
            yield session, sweep
            repo.increment_revision(sweep.id)

    def _delete_files(self, session: Session, sweep_id: str, unneeded: UnneededFiles) -> None:
        find_deletion(session, sweep_id, unneeded).apply(session, self._storage)


def _apply_result(trial: SweepTrial, result: TrialResult) -> SweepTrial:
    """Return the trial as it is after its result is stored."""
    scores = trial.scores if result.score is None else {**trial.scores, trial.epochs: result.score}
    lost = int(result.state is TrialState.INTERRUPTED)
    return replace(trial, state=result.state, scores=scores, interruptions=trial.interruptions + lost)
