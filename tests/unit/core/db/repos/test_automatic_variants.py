"""The jobs that choose the variants of new versions, and the variants that they have chosen."""

from typing import Any

import pytest
from sqlalchemy import select

from core.db.clock import utc_now
from core.db.repos.automatic_variants import PRIORITY, AutomaticVariantRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.variants import VariantRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import JobRow, ModelVariantRow, ModelVersionRow
from core.spec import ANY_JOB, JobSpec
from core.sweeps import trial_jobs
from tests.support.builders import dataset_version, job, job_spec

IMAGES = {"image_shape": [1, 8, 8]}
SPLITS = {"splits": {"train": 90, "valid": 10}}


def build_version(spec: dict[str, Any], bundle: dict[str, Any], version: int = 1) -> ModelVersionRow:
    return ModelVersionRow(
        name="tiny",
        version=version,
        job_id=f"job-{version}",
        job_token=1,
        key=f"jobs/{version}/bundle",
        files={},
        sha256="0" * 64,
        size_bytes=1,
        bundle=bundle,
        spec=spec,
        metrics={},
        dataset={},
        num_parameters=1,
        created_at=utc_now(),
    )


def queue_variant(
    sessions: SessionFactory, runtime: dict[str, Any] | None, bundle: dict[str, Any]
) -> tuple[JobRow | None, list[JobRow]]:
    """Queue the job of a version; return it and all jobs of its kind."""
    dataset = {"name": "digits", "version": 1, "valid": 0.1, "train_transforms": [{"name": "affine", "degrees": 15}]}
    spec = JobSpec.model_validate(job_spec(dataset=dataset)).model_dump(mode="json")
    data = dataset_version()
    with transaction(sessions) as session:
        session.add(data)
        session.flush()
        training = JobRepo(session).add(job(data, spec=spec))
        training.runtime = runtime
        queued = AutomaticVariantRepo(session).queue_job(training, build_version(spec, bundle))
        listed = list(session.scalars(select(JobRow).where(JobRow.kind == "variant")))
        return queued and JobRepo(session).get(queued.id), listed


def test_the_job_has_the_dataset_of_the_training_and_comes_after_all_trainings(sqlite_sessions: SessionFactory) -> None:
    queued, listed = queue_variant(sqlite_sessions, SPLITS, IMAGES)
    assert queued is not None
    assert [row.id for row in listed] == [queued.id]
    spec = ANY_JOB.validate_python(queued.spec)
    assert (spec.kind, spec.format, spec.model, spec.split) == ("variant", "auto", "tiny@1", "valid")  # type: ignore[union-attr]  # a variant
    assert spec.dataset is not None
    assert (spec.dataset.name, spec.dataset.version, spec.dataset.valid) == ("digits", 1, 0.1)
    assert spec.dataset.train_transforms == ()
    assert (queued.name, queued.model_name, queued.is_resolved) == ("variant-tiny-1", "tiny", False)
    assert queued.dataset_version_id is not None
    assert queued.priority == PRIORITY < trial_jobs.PRIORITY < 0


@pytest.mark.parametrize(
    ("runtime", "bundle"),
    [
        ({"splits": {"train": 90}}, IMAGES),
        ({"splits": {"train": 90, "valid": 0}}, IMAGES),
        (None, IMAGES),
        (SPLITS, {"image_shape": [4]}),
        (SPLITS, {"image_shape": [2, 24]}),
    ],
)
def test_a_version_that_can_have_no_variant_gets_no_job(
    sqlite_sessions: SessionFactory, runtime: dict[str, Any] | None, bundle: dict[str, Any]
) -> None:
    assert queue_variant(sqlite_sessions, runtime, bundle) == (None, [])


def add_variant(sessions: SessionFactory, kind: str, *, version: int = 1, **measured: Any) -> None:
    with transaction(sessions) as session:
        if session.get(ModelVersionRow, ("tiny", version)) is None:
            session.add(build_version({}, IMAGES, version))
            session.flush()
        columns = {"job_id": "j", "key": f"k-{kind}", "files": {}, "size_bytes": 1, "created_at": utc_now()}
        session.merge(ModelVariantRow(name="tiny", version=version, format=kind, measured=measured, **columns))


@pytest.mark.services
def test_only_the_automatic_choice_is_found(sessions: SessionFactory) -> None:
    add_variant(sessions, "int8", max_drop=1.0)
    add_variant(sessions, "onnx", chosen_by="auto")
    add_variant(sessions, "onnx", version=2, chosen_by=None)
    with transaction(sessions, read_only=True) as session:
        repo = VariantRepo(session)
        found = [repo.find_chosen("tiny", version) for version in (1, 2, 3)]
        assert [None if row is None else row.format for row in found] == ["onnx", None, None]
        assert {key: row.format for key, row in repo.list_chosen().items()} == {("tiny", 1): "onnx"}
        assert repo.list_chosen("other") == {}


def test_a_variant_that_is_no_longer_the_choice_remains(sqlite_sessions: SessionFactory) -> None:
    add_variant(sqlite_sessions, "onnx", chosen_by="auto", speed_ratio=2.0)
    add_variant(sqlite_sessions, "onnx", version=2, chosen_by="auto")
    with transaction(sqlite_sessions) as session:
        VariantRepo(session).clear_choice("tiny", 1)
    with transaction(sqlite_sessions, read_only=True) as session:
        assert VariantRepo(session).get("tiny", 1, "onnx").measured == {"speed_ratio": 2.0}
        assert list(VariantRepo(session).list_chosen()) == [("tiny", 2)]
