"""FastAPI dependencies of the endpoints: database sessions and services, as annotated types."""

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from app.services.batch_predictions import BatchPredictionService
from app.services.datasets import DatasetService
from app.services.event_stream import EventStreams
from app.services.jobs import JobService
from app.services.models import ModelService
from app.services.prediction.checkpoints import CheckpointPredictionService
from app.services.prediction.explanations import ExplanationService
from app.services.prediction.inference import InferenceService
from app.services.prediction.predictions import PredictionService
from app.services.readiness import ReadinessProbe
from app.services.results import ResultService
from app.services.system import SystemService
from app.services.variants import VariantService
from app.serving.backend import ArchitectureCatalog
from app.state import State, get_state
from core.datasets.archives.configured_limits import build_upload_limits
from core.db.repos.jobs import JobRepo
from core.db.session import transaction
from core.settings import Settings
from core.storage import Storage
from core.tracing import parse_traceparent

NUM_MISSED_HEARTBEATS = 3  # a worker that missed this many heartbeats counts as lost
# A worker counts as unresponsive if it receives no canary message during this many maintenance rounds. One round is not
# enough: a round sends as many canary messages as there are workers, but one worker may receive several of them.
NUM_CANARY_ROUNDS = 12

StateDep = Annotated[State, Depends(get_state)]


def _open_session(state: StateDep) -> Iterator[Session]:
    with transaction(state.sessions) as session:
        yield session


def _open_read_session(state: StateDep) -> Iterator[Session]:
    with transaction(state.sessions, read_only=True) as session:
        yield session


# With scope="function", FastAPI commits the transaction before it sends the response. A failed commit therefore results
# in an error response.
SessionDep = Annotated[Session, Depends(_open_session, scope="function")]
ReadSessionDep = Annotated[Session, Depends(_open_read_session, scope="function")]


def _get_settings(state: StateDep) -> Settings:
    return state.settings


def _get_storage(state: StateDep) -> Storage:
    return state.storage


SettingsDep = Annotated[Settings, Depends(_get_settings)]
StorageDep = Annotated[Storage, Depends(_get_storage)]


def get_worker_silence_s(settings: Settings) -> float:
    """Return the number of seconds without a heartbeat after which a worker counts as lost."""
    return NUM_MISSED_HEARTBEATS * settings.heartbeat_s


def build_dataset_service(session: Session, state: State) -> DatasetService:
    """Return a dataset service that uses an open session."""
    settings = state.settings
    return DatasetService(
        session, state.storage, settings.datasets_dir, wake=state.relay.wake, limits=build_upload_limits(settings)
    )


def build_job_service(session: Session, state: State, request: Request | None = None) -> JobService:
    """Return a job service that uses an open session. Submitted jobs continue the trace of `request`."""
    return JobService(
        session,
        build_dataset_service(session, state),
        state.storage,
        state.model_server.backend,
        wake=state.relay.wake,
        worker_silence_s=get_worker_silence_s(state.settings),
        traceparent=parse_traceparent(request.headers.get("traceparent")) if request is not None else None,
    )


def resolve_waiting_jobs(state: State) -> None:
    """Validate and queue the jobs whose dataset import has ended, in a new transaction."""
    with transaction(state.sessions, read_only=True) as session:
        if not JobRepo(session).find_resolvable_ids(limit=1):  # most calls find no job: open no write transaction
            return
    with transaction(state.sessions) as session:
        build_job_service(session, state).resolve_waiting_jobs()


def _get_datasets(session: SessionDep, state: StateDep) -> DatasetService:
    return build_dataset_service(session, state)


def _get_dataset_reader(session: ReadSessionDep, state: StateDep) -> DatasetService:
    return build_dataset_service(session, state)


def _get_jobs(request: Request, session: SessionDep, state: StateDep) -> JobService:
    return build_job_service(session, state, request)


def _get_job_reader(session: ReadSessionDep, state: StateDep) -> JobService:
    return build_job_service(session, state)


def _get_results(session: ReadSessionDep, storage: StorageDep) -> ResultService:
    return ResultService(session, storage)


def _get_models(session: SessionDep, state: StateDep) -> ModelService:
    return ModelService(session, state.storage, on_alias_changed=state.version_cache.invalidate)


def _get_model_reader(session: ReadSessionDep, storage: StorageDep) -> ModelService:
    return ModelService(session, storage)


def _get_batch_predictions(request: Request, session: SessionDep, state: StateDep) -> BatchPredictionService:
    jobs, limits = build_job_service(session, state, request), build_upload_limits(state.settings)
    return BatchPredictionService(session, state.storage, jobs, limits)


def _get_variants(request: Request, session: SessionDep, state: StateDep) -> VariantService:
    return VariantService(session, state.storage, build_job_service(session, state, request))


def _get_variant_reader(session: ReadSessionDep, state: StateDep) -> VariantService:
    return VariantService(session, state.storage, build_job_service(session, state))


def _get_system(session: ReadSessionDep, state: StateDep) -> SystemService:
    settings = state.settings
    return SystemService(
        session,
        state.model_server.backend,
        worker_silence_s=get_worker_silence_s(settings),
        canary_silence_s=NUM_CANARY_ROUNDS * settings.maintenance_s,
    )


def _get_architectures(state: StateDep) -> ArchitectureCatalog:
    return state.model_server.backend


def _get_event_streams(state: StateDep) -> EventStreams:
    return state.event_streams


def _get_predictions(state: StateDep) -> PredictionService:
    return state.predictions


def _get_checkpoint_predictions(state: StateDep) -> CheckpointPredictionService:
    return CheckpointPredictionService(state.sessions, state.predictions)


def _get_explanations(state: StateDep) -> ExplanationService:
    return state.explanations


def _get_inference(state: StateDep) -> InferenceService:
    return state.inference


def _get_readiness(state: StateDep) -> ReadinessProbe:
    return state.readiness


DatasetsDep = Annotated[DatasetService, Depends(_get_datasets)]
DatasetReaderDep = Annotated[DatasetService, Depends(_get_dataset_reader)]
JobsDep = Annotated[JobService, Depends(_get_jobs)]
JobReaderDep = Annotated[JobService, Depends(_get_job_reader)]
ResultsDep = Annotated[ResultService, Depends(_get_results)]
ModelsDep = Annotated[ModelService, Depends(_get_models)]
ModelReaderDep = Annotated[ModelService, Depends(_get_model_reader)]
BatchPredictionsDep = Annotated[BatchPredictionService, Depends(_get_batch_predictions)]
VariantsDep = Annotated[VariantService, Depends(_get_variants)]
VariantReaderDep = Annotated[VariantService, Depends(_get_variant_reader)]
ArchitecturesDep = Annotated[ArchitectureCatalog, Depends(_get_architectures)]
SystemDep = Annotated[SystemService, Depends(_get_system)]
PredictionsDep = Annotated[PredictionService, Depends(_get_predictions)]
CheckpointPredictionsDep = Annotated[CheckpointPredictionService, Depends(_get_checkpoint_predictions)]
ExplanationsDep = Annotated[ExplanationService, Depends(_get_explanations)]
InferenceDep = Annotated[InferenceService, Depends(_get_inference)]
EventStreamsDep = Annotated[EventStreams, Depends(_get_event_streams)]
ReadinessDep = Annotated[ReadinessProbe, Depends(_get_readiness)]
