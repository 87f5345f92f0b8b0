"""What an endpoint may ask for, by type; and what lives as long as the process."""

from collections.abc import Iterator
from typing import Annotated, TypedDict, cast

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from app.services.batch_predictions import ArchiveService
from app.services.datasets import DatasetService
from app.services.event_stream import EventStreams
from app.services.jobs import JobService
from app.services.models import ModelService
from app.services.prediction.checkpoints import CheckpointPredictions
from app.services.prediction.explanations import InsightService
from app.services.prediction.inference import InferenceService
from app.services.prediction.predictions import PredictionService
from app.services.readiness import Readiness
from app.services.results import ResultService
from app.services.system import SystemService
from app.services.variants import VariantService
from app.serving.backend import Architectures
from app.serving.model_server import ModelServer
from core.bus import Bus
from core.datasets.archives.limits import limits_of
from core.db.repos.jobs import JobRepo
from core.db.session import SessionFactory, transaction
from core.outbox import OutboxRelay
from core.queue import Queue
from core.settings import Settings
from core.storage import Storage
from core.tracing import traceparent_of


class State(TypedDict):
    """What lives as long as the process; `create_app` builds it, tests bring their own."""

    settings: Settings
    sessions: SessionFactory
    queue: Queue
    dispatcher: OutboxRelay
    bus: Bus
    storage: Storage
    predictors: ModelServer


def _state(request: Request) -> State:
    return cast("State", request.scope["state"])


StateDep = Annotated[State, Depends(_state)]


def _session(state: StateDep) -> Iterator[Session]:
    with transaction(state["sessions"]) as session:
        yield session


def _read_session(state: StateDep) -> Iterator[Session]:
    with transaction(state["sessions"], read_only=True) as session:
        yield session


# "function": the commit comes before the answer, so that a failed commit is a failed request.
SessionDep = Annotated[Session, Depends(_session, scope="function")]
ReadSessionDep = Annotated[Session, Depends(_read_session, scope="function")]


def _settings(state: StateDep) -> Settings:
    return state["settings"]


def _storage(state: StateDep) -> Storage:
    return state["storage"]


SettingsDep = Annotated[Settings, Depends(_settings)]
StorageDep = Annotated[Storage, Depends(_storage)]


CANARY_ROUNDS = 12  # every round has a message for every worker; they take turns, but nobody makes them


def worker_silence_s(settings: Settings) -> float:
    """A worker that missed three heartbeats does not count as living."""
    return 3 * settings.heartbeat_s


def _dataset_service(session: Session, state: State) -> DatasetService:
    settings, kick = state["settings"], state["dispatcher"].kick
    return DatasetService(session, state["storage"], settings.datasets_dir, kick=kick, limits=limits_of(settings))


def _datasets(session: SessionDep, state: StateDep) -> DatasetService:
    return _dataset_service(session, state)


def _dataset_reader(session: ReadSessionDep, state: StateDep) -> DatasetService:
    return _dataset_service(session, state)


def _job_service(session: Session, state: State, request: Request | None = None) -> JobService:
    return JobService(
        session,
        _dataset_service(session, state),
        state["storage"],
        state["predictors"].networks,
        kick=state["dispatcher"].kick,
        worker_silence_s=worker_silence_s(state["settings"]),
        traceparent=traceparent_of(request.headers.get("traceparent")) if request is not None else None,
    )


def resolve_waiting(state: State) -> None:
    """One look at jobs that waited for their dataset, in a transaction of its own; most often there are none."""
    with transaction(state["sessions"], read_only=True) as session:
        if not JobRepo(session).unresolved(limit=1):
            return
    with transaction(state["sessions"]) as session:
        _job_service(session, state).resolve_waiting()


def _jobs(request: Request, session: SessionDep, state: StateDep) -> JobService:
    return _job_service(session, state, request)


def _job_reader(session: ReadSessionDep, state: StateDep) -> JobService:
    return _job_service(session, state)


def _results(session: ReadSessionDep, storage: StorageDep) -> ResultService:
    return ResultService(session, storage)


def _models(request: Request, session: SessionDep, storage: StorageDep) -> ModelService:
    return ModelService(session, storage, moved=request.scope["state"]["lookup"].forget)


def _model_reader(session: ReadSessionDep, storage: StorageDep) -> ModelService:
    return ModelService(session, storage)


def _archives(request: Request, session: SessionDep, state: StateDep) -> ArchiveService:
    jobs, limits = _job_service(session, state, request), limits_of(state["settings"])
    return ArchiveService(session, state["storage"], jobs, limits)


def _variants(request: Request, session: SessionDep, state: StateDep) -> VariantService:
    return VariantService(session, state["storage"], _job_service(session, state, request))


def _variant_reader(session: ReadSessionDep, state: StateDep) -> VariantService:
    return VariantService(session, state["storage"], _job_service(session, state))


def _system(session: ReadSessionDep, state: StateDep) -> SystemService:
    settings = state["settings"]
    return SystemService(
        session,
        state["predictors"].networks,
        worker_silence_s=worker_silence_s(settings),
        canary_silence_s=CANARY_ROUNDS * settings.sweep_s,
    )


def _architectures(state: StateDep) -> Architectures:
    return state["predictors"].networks


def _streams(request: Request) -> EventStreams:
    return cast("EventStreams", request.scope["state"]["streams"])


def _predictions(request: Request) -> PredictionService:
    return cast("PredictionService", request.scope["state"]["predictions"])


def _checkpoint_predictions(request: Request, state: StateDep) -> CheckpointPredictions:
    return CheckpointPredictions(state["sessions"], _predictions(request))


def _insights(request: Request) -> InsightService:
    return cast("InsightService", request.scope["state"]["insights"])


def _inference(request: Request) -> InferenceService:
    return cast("InferenceService", request.scope["state"]["inference"])


def _readiness(request: Request) -> Readiness:
    return cast("Readiness", request.scope["state"]["readiness"])


DatasetsDep = Annotated[DatasetService, Depends(_datasets)]
DatasetReaderDep = Annotated[DatasetService, Depends(_dataset_reader)]
JobsDep = Annotated[JobService, Depends(_jobs)]
JobReaderDep = Annotated[JobService, Depends(_job_reader)]
ResultsDep = Annotated[ResultService, Depends(_results)]
ModelsDep = Annotated[ModelService, Depends(_models)]
ModelReaderDep = Annotated[ModelService, Depends(_model_reader)]
ArchivesDep = Annotated[ArchiveService, Depends(_archives)]
VariantsDep = Annotated[VariantService, Depends(_variants)]
VariantReaderDep = Annotated[VariantService, Depends(_variant_reader)]
ArchitecturesDep = Annotated[Architectures, Depends(_architectures)]
SystemDep = Annotated[SystemService, Depends(_system)]
PredictionsDep = Annotated[PredictionService, Depends(_predictions)]
CheckpointPredictionsDep = Annotated[CheckpointPredictions, Depends(_checkpoint_predictions)]
InsightsDep = Annotated[InsightService, Depends(_insights)]
InferenceDep = Annotated[InferenceService, Depends(_inference)]
StreamsDep = Annotated[EventStreams, Depends(_streams)]
ReadinessDep = Annotated[Readiness, Depends(_readiness)]
