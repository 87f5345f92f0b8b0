"""FastAPI dependencies of the endpoints: database sessions and services, as annotated types."""

import hashlib
from collections.abc import Iterator
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Request
from sqlalchemy.orm import Session

from app.http.event_response import EventConnections
from app.http.rate_limit import get_api_key
from app.services.batch_predictions import BatchPredictionService
from app.services.browser_sessions import BrowserSessions
from app.services.dataset_edits import DatasetEditService
from app.services.dataset_files import DatasetFileService
from app.services.dataset_samples import DatasetSampleService
from app.services.datasets import DatasetService
from app.services.event_streams import EventStreams
from app.services.job_comparison import JobComparisonService
from app.services.job_submission import JobSubmission
from app.services.jobs import JobService
from app.services.lineage import LineageService
from app.services.metric_curves import MetricCurveService
from app.services.model_deletion import ModelDeletion
from app.services.models import ModelService, ModelSubmission
from app.services.prediction.checkpoints import CheckpointPredictionService
from app.services.prediction.explanations import ExplanationService
from app.services.prediction.inference import InferenceService
from app.services.prediction.predictions import PredictionService
from app.services.readiness import ReadinessProbe
from app.services.reproductions import ReproductionSubmission
from app.services.resource_descriptions import ResourceDescriptionService
from app.services.results import ResultService
from app.services.resumable_uploads import ResumableUploadService
from app.services.sweep_deletion import SweepDeletion
from app.services.sweep_importance import SweepImportanceService
from app.services.sweep_submission import SweepSubmission
from app.services.sweeps import SweepService
from app.services.system import SystemService
from app.services.variants import VariantService, VariantSubmission
from app.serving.backend import ArchitectureCatalog
from app.state import State, get_state, get_worker_silence_s
from core.datasets.archives.configured_limits import build_upload_limits
from core.db.session import transaction
from core.settings import Settings
from core.storage import Storage
from core.tracing import parse_traceparent

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


async def _get_settings(state: StateDep) -> Settings:
    return state.settings


async def _get_download_threads(state: StateDep) -> CapacityLimiter:
    return state.download_threads


async def _get_storage(state: StateDep) -> Storage:
    return state.storage


SettingsDep = Annotated[Settings, Depends(_get_settings)]
DownloadThreadsDep = Annotated[CapacityLimiter, Depends(_get_download_threads)]
StorageDep = Annotated[Storage, Depends(_get_storage)]


def _get_datasets(session: SessionDep, state: StateDep) -> DatasetService:
    return state.build_dataset_service(session)


def _get_dataset_reader(session: ReadSessionDep, state: StateDep) -> DatasetService:
    return state.build_dataset_service(session)


def _get_dataset_samples(session: ReadSessionDep, state: StateDep) -> DatasetSampleService:
    return DatasetSampleService(session, state.storage, state.split_cache)


async def _get_dataset_edits(state: StateDep) -> DatasetEditService:
    return DatasetEditService(state.sessions, wake=state.relay.wake)


async def _get_dataset_files(state: StateDep) -> DatasetFileService:
    return DatasetFileService(state.sessions, state.storage)


def _get_jobs(session: SessionDep, state: StateDep) -> JobService:
    return state.build_job_service(session)


def _get_job_reader(session: ReadSessionDep, state: StateDep) -> JobService:
    return state.build_job_service(session)


async def _get_submission(state: StateDep) -> JobSubmission:
    return state.submission


async def _get_traceparent(request: Request) -> str | None:
    return parse_traceparent(request.headers.get("traceparent"))


def _get_results(session: ReadSessionDep, storage: StorageDep) -> ResultService:
    return ResultService(session, storage)


def _get_job_comparison(session: ReadSessionDep) -> JobComparisonService:
    return JobComparisonService(session)


def _get_lineage(session: ReadSessionDep) -> LineageService:
    return LineageService(session)


def _get_metric_curves(session: ReadSessionDep) -> MetricCurveService:
    return MetricCurveService(session)


def _get_models(session: SessionDep, state: StateDep) -> ModelService:
    return ModelService(session, state.storage, on_alias_changed=state.version_cache.invalidate)


def _get_model_reader(session: ReadSessionDep, storage: StorageDep) -> ModelService:
    return ModelService(session, storage)


def _get_resource_descriptions(session: SessionDep) -> ResourceDescriptionService:
    return ResourceDescriptionService(session)


async def _get_model_deletion(state: StateDep) -> ModelDeletion:
    return state.model_deletion


async def _get_model_submission(state: StateDep) -> ModelSubmission:
    return ModelSubmission(state.submission)


async def _get_batch_predictions(state: StateDep) -> BatchPredictionService:
    return BatchPredictionService(state.sessions, state.storage, state.submission, build_upload_limits(state.settings))


async def _get_variant_submission(state: StateDep) -> VariantSubmission:
    return VariantSubmission(state.sessions, state.submission)


async def _get_reproductions(state: StateDep) -> ReproductionSubmission:
    return ReproductionSubmission(state.sessions, state.submission)


def _get_variants(session: SessionDep, state: StateDep) -> VariantService:
    return VariantService(session, state.storage, on_deleted=state.version_cache.invalidate)


def _get_variant_reader(session: ReadSessionDep, state: StateDep) -> VariantService:
    return VariantService(session, state.storage)


def _get_sweeps(session: SessionDep, state: StateDep) -> SweepService:
    return state.build_sweep_service(session)


def _get_sweep_reader(session: ReadSessionDep, state: StateDep) -> SweepService:
    return state.build_sweep_service(session)


async def _get_sweep_submission(state: StateDep) -> SweepSubmission:
    return state.sweep_submission


async def _get_sweep_deletion(state: StateDep) -> SweepDeletion:
    return SweepDeletion(state.sessions, open_sweeps=state.build_sweep_service, open_jobs=state.build_job_service)


async def _get_sweep_importance(state: StateDep) -> SweepImportanceService:
    return state.sweep_importance


def _get_system(session: ReadSessionDep, state: StateDep) -> SystemService:
    settings = state.settings
    return SystemService(
        session,
        state.model_server.backend,
        worker_silence_s=get_worker_silence_s(settings),
        canary_silence_s=NUM_CANARY_ROUNDS * settings.maintenance_s,
    )


async def _get_architectures(state: StateDep) -> ArchitectureCatalog:
    return state.model_server.backend


async def _get_event_streams(state: StateDep) -> EventStreams:
    return state.event_streams


async def _get_event_connections(state: StateDep) -> EventConnections:
    return state.event_connections


async def _get_browser_sessions(state: StateDep) -> BrowserSessions:
    return state.browser_sessions


async def _get_predictions(state: StateDep) -> PredictionService:
    return state.predictions


async def _get_checkpoint_predictions(state: StateDep) -> CheckpointPredictionService:
    return CheckpointPredictionService(state.sessions, state.predictions)


async def _get_explanations(state: StateDep) -> ExplanationService:
    return state.explanations


async def _get_inference(state: StateDep) -> InferenceService:
    return state.inference


async def _get_readiness(state: StateDep) -> ReadinessProbe:
    return state.readiness


async def _get_resumable_uploads(state: StateDep) -> ResumableUploadService:
    return state.resumable_uploads


async def _get_owner(request: Request, settings: SettingsDep) -> str:
    """Return a hash of the API key of the request; empty if the service requires no keys."""
    return hashlib.sha256(get_api_key(request.scope)).hexdigest()[:32] if settings.api_keys else ""


DatasetsDep = Annotated[DatasetService, Depends(_get_datasets)]
DatasetSamplesDep = Annotated[DatasetSampleService, Depends(_get_dataset_samples)]
DatasetReaderDep = Annotated[DatasetService, Depends(_get_dataset_reader)]
DatasetEditsDep = Annotated[DatasetEditService, Depends(_get_dataset_edits)]
DatasetFilesDep = Annotated[DatasetFileService, Depends(_get_dataset_files)]
JobComparisonDep = Annotated[JobComparisonService, Depends(_get_job_comparison)]
LineageDep = Annotated[LineageService, Depends(_get_lineage)]
JobsDep = Annotated[JobService, Depends(_get_jobs)]
SubmissionDep = Annotated[JobSubmission, Depends(_get_submission)]
TraceparentDep = Annotated[str | None, Depends(_get_traceparent)]
JobReaderDep = Annotated[JobService, Depends(_get_job_reader)]
ResultsDep = Annotated[ResultService, Depends(_get_results)]
MetricCurvesDep = Annotated[MetricCurveService, Depends(_get_metric_curves)]
ModelsDep = Annotated[ModelService, Depends(_get_models)]
ModelReaderDep = Annotated[ModelService, Depends(_get_model_reader)]
ModelDeletionDep = Annotated[ModelDeletion, Depends(_get_model_deletion)]
ResourceDescriptionsDep = Annotated[ResourceDescriptionService, Depends(_get_resource_descriptions)]
ModelSubmissionDep = Annotated[ModelSubmission, Depends(_get_model_submission)]
BatchPredictionsDep = Annotated[BatchPredictionService, Depends(_get_batch_predictions)]
VariantsDep = Annotated[VariantService, Depends(_get_variants)]
VariantSubmissionDep = Annotated[VariantSubmission, Depends(_get_variant_submission)]
ReproductionsDep = Annotated[ReproductionSubmission, Depends(_get_reproductions)]
VariantReaderDep = Annotated[VariantService, Depends(_get_variant_reader)]
ArchitecturesDep = Annotated[ArchitectureCatalog, Depends(_get_architectures)]
SweepsDep = Annotated[SweepService, Depends(_get_sweeps)]
SweepReaderDep = Annotated[SweepService, Depends(_get_sweep_reader)]
SweepSubmissionDep = Annotated[SweepSubmission, Depends(_get_sweep_submission)]
SweepDeletionDep = Annotated[SweepDeletion, Depends(_get_sweep_deletion)]
SweepImportanceDep = Annotated[SweepImportanceService, Depends(_get_sweep_importance)]
SystemDep = Annotated[SystemService, Depends(_get_system)]
PredictionsDep = Annotated[PredictionService, Depends(_get_predictions)]
CheckpointPredictionsDep = Annotated[CheckpointPredictionService, Depends(_get_checkpoint_predictions)]
ExplanationsDep = Annotated[ExplanationService, Depends(_get_explanations)]
InferenceDep = Annotated[InferenceService, Depends(_get_inference)]
EventConnectionsDep = Annotated[EventConnections, Depends(_get_event_connections)]
EventStreamsDep = Annotated[EventStreams, Depends(_get_event_streams)]
BrowserSessionsDep = Annotated[BrowserSessions, Depends(_get_browser_sessions)]
ReadinessDep = Annotated[ReadinessProbe, Depends(_get_readiness)]
ResumableUploadsDep = Annotated[ResumableUploadService, Depends(_get_resumable_uploads)]
OwnerDep = Annotated[str, Depends(_get_owner)]
