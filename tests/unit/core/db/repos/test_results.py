"""What jobs leave: events, curves, checkpoints, models; each in order, fenced, and bounded."""

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import update

from core.db.repos.attempts import AttemptRepo
from core.db.repos.checkpoints import CheckpointRepo
from core.db.repos.events import EventRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.metrics import MetricPoint, MetricRepo, downsample
from core.db.repos.models import ModelRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import CheckpointRow, DatasetVersionRow, JobRow, ModelVersionRow
from core.errors import ResourceInUse, InvalidSpec, LostLease, NotFound
from core.events import EventType
from tests.support.builders import job, job_spec


@pytest.fixture
def running(sessions: SessionFactory, queued: JobRow) -> JobRow:
    with transaction(sessions) as session:
        job = AttemptRepo(session).claim(queued.id, "w", 60.0)
        assert job is not None
        return job


def test_events_of_concurrent_writers_have_numbers_without_gap_or_repeat(
    sessions: SessionFactory, queued: JobRow
) -> None:
    def tell(writer: int) -> None:
        for number in range(5):
            with transaction(sessions) as session:
                two = [(EventType.LOG, {"writer": writer, "number": number, "half": half}) for half in (0, 1)]
                EventRepo(session).append(queued.id, two)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(tell, range(4)))
    with transaction(sessions) as session:
        events = EventRepo(session).list_after(queued.id, 0)
        assert [event.seq for event in events] == list(range(1, 42))
        assert [event.seq for event in EventRepo(session).list_after(queued.id, 39)] == [40, 41]
        assert len(EventRepo(session).list_after(queued.id, 0, limit=7)) == 7


def test_a_rollback_leaves_no_gap(sessions: SessionFactory, queued: JobRow) -> None:
    with pytest.raises(RuntimeError), transaction(sessions) as session:
        EventRepo(session).append(queued.id, [(EventType.LOG, {})])
        raise RuntimeError
    with transaction(sessions) as session:
        (event,) = EventRepo(session).append(queued.id, [(EventType.LOG, {})])
    assert event.seq == 2
    with pytest.raises(NotFound), transaction(sessions) as session:
        EventRepo(session).append("nobody", [(EventType.LOG, {})])


def test_a_point_that_is_computed_again_replaces_the_old_one(sessions: SessionFactory, queued: JobRow) -> None:
    with transaction(sessions) as session:
        repo = MetricRepo(session)
        repo.upsert(queued.id, [MetricPoint("train", "loss", step, 1, step / 10) for step in range(2500)])
        repo.upsert(queued.id, [MetricPoint("train", "loss", 7, 1, 9.0), MetricPoint("train", "loss", 7, 1, 8.0)])
        repo.upsert(queued.id, [MetricPoint("valid", "loss", 7, 1, None, "NaN"), MetricPoint("valid", "acc", 7, 1, 1)])
        repo.upsert(queued.id, [])
        curves = {(s.name, s.split): s.points for s in repo.list_series(queued.id)}
        assert {key: len(points) for key, points in curves.items()} == {
            ("acc", "valid"): 1,
            ("loss", "train"): 2500,
            ("loss", "valid"): 1,
        }
        assert curves["loss", "train"][7].value == 8.0
        assert curves["loss", "valid"][0].special == "NaN"
        assert [s.name for s in repo.list_series(queued.id, names=["acc"])] == ["acc"]
        assert [s.split for s in repo.list_series(queued.id, split="train")] == ["train"]
        assert [len(s.points) for s in repo.list_series(queued.id, since_step=2490)] == [9]
        assert [len(s.points) for s in repo.list_series(queued.id, max_points=100, split="train")] <= [100]


@pytest.mark.parametrize("max_points", [4, 10, 100, 999, 1000, None])
def test_a_thinned_curve_keeps_its_ends_and_its_spikes(max_points: int | None) -> None:
    values = [math.sin(i / 50) for i in range(1000)]
    values[333], values[777] = 99.0, -99.0
    points = [MetricPoint("train", "loss", i, 1, value) for i, value in enumerate(values)]
    thinned = downsample(points, max_points)
    assert len(thinned) <= (max_points or 1000)
    assert {0, 333, 777, 999} <= {point.step for point in thinned}
    assert [point.step for point in thinned] == sorted({point.step for point in thinned})


def test_a_thinned_curve_keeps_what_is_not_finite() -> None:
    points = [MetricPoint("train", "loss", i, 1, 0.5) for i in range(1000)]
    points[500] = MetricPoint("train", "loss", 500, 1, None, "Infinity")
    assert any(point.special for point in downsample(points, 8))


def store(sessions: SessionFactory, job: JobRow, step: int, *tags: str, token: int | None = None) -> CheckpointRow:
    with transaction(sessions) as session:
        repo = CheckpointRepo(session)
        number = repo.get_next_number(job.id)
        files = {"weights.safetensors": {"sha256": "a" * 64, "size_bytes": 5}, "x": {"sha256": "b", "size_bytes": 2}}
        return repo.add(
            job.id,
            job.token if token is None else token,
            number=number,
            epoch=1,
            step=step,
            metrics={},
            tags=tags,
            key=f"k/{number}",
            files=files,
        )


def test_best_kept_and_the_last_two_checkpoints_stay(sessions: SessionFactory, running: JobRow) -> None:
    store(sessions, running, 1, "kept")
    store(sessions, running, 2, "best")
    store(sessions, running, 3, "best")
    store(sessions, running, 4)
    store(sessions, running, 5)
    newest = store(sessions, running, 6)
    assert (newest.size_bytes, newest.sha256) == (7, "a" * 64)
    with transaction(sessions) as session:
        repo = CheckpointRepo(session)
        assert {row.number: row.tags for row in repo.list_checkpoints(running.id) if row.tags} == {
            1: ["kept"],
            3: ["best"],
            6: ["latest"],
        }
        assert [row.number for row in repo.find_prunable(running.id)] == [2, 4]
        repo.delete(running.id, 2)
        assert [row.step for row in repo.list_resumable(running.id)] == [6, 5, 4, 3, 1]
        assert repo.get_next_number(running.id) == 7
        assert (repo.is_key_referenced("k/1"), repo.is_key_referenced("k/2")) == (True, False)
        with pytest.raises(NotFound):
            repo.get(running.id, 2)


def test_what_another_job_is_about_to_begin_with_stays(sessions: SessionFactory, running: JobRow) -> None:
    for step in range(1, 6):
        store(sessions, running, step)
    with transaction(sessions) as session:
        asked = {"resume_from": {"job": running.id, "checkpoint": 2}}
        version = session.get_one(DatasetVersionRow, running.dataset_version_id)
        other = JobRepo(session).add(job(version, spec=job_spec(**asked)))
        JobRepo(session).add(job(version, spec=job_spec(resume_from=None)))
    with transaction(sessions) as session:
        repo = CheckpointRepo(session)
        assert repo.find_dependents(running.id) == {other.id: 2}
        assert [row.number for row in repo.find_prunable(running.id)] == [1, 3]
        session.execute(update(JobRow).where(JobRow.id == running.id).values(state="succeeded"))
    with pytest.raises(ResourceInUse) as refused, transaction(sessions) as session:
        JobRepo(session).delete(running.id)
    assert refused.value.extra["dependents"] == [other.id]
    with transaction(sessions) as session:
        claimed = AttemptRepo(session).claim(other.id, "w", 60.0)
        assert claimed is not None
    store(sessions, claimed, 1)  # from now on it goes on from its own
    with transaction(sessions) as session:
        assert CheckpointRepo(session).find_dependents(running.id) == {}
        assert [row.number for row in CheckpointRepo(session).find_prunable(running.id)] == [1, 2, 3]
        assert len(JobRepo(session).delete(running.id)) == 5


def test_curves_are_copied_up_to_a_step(sessions: SessionFactory, running: JobRow) -> None:
    points = [MetricPoint("valid", "loss", step, 1, 0.5) for step in (1, 3)]
    points.insert(1, MetricPoint("valid", "loss", 2, 1, None, "NaN"))
    with transaction(sessions) as session:
        version = session.get_one(DatasetVersionRow, running.dataset_version_id)
        other = JobRepo(session).add(job(version))
        MetricRepo(session).upsert(running.id, points)
        MetricRepo(session).copy(running.id, other.id, up_to_step=2)
        (series,) = MetricRepo(session).list_series(other.id)
    assert series.points == points[:2]


def test_a_stale_attempt_stores_no_checkpoint(sessions: SessionFactory, running: JobRow) -> None:
    with pytest.raises(LostLease):
        store(sessions, running, 1, token=0)
    with transaction(sessions) as session:
        assert CheckpointRepo(session).list_checkpoints(running.id) == []


def model(job: JobRow, name: str = "digits") -> ModelVersionRow:
    return ModelVersionRow(
        name=name,
        job_id=job.id,
        key="k",
        files={},
        sha256="a" * 64,
        size_bytes=1,
        bundle={},
        spec={},
        metrics={},
        dataset={},
        num_parameters=1,
    )


def test_versions_are_numbered_and_found_by_every_kind_of_name(sessions: SessionFactory, running: JobRow) -> None:
    with transaction(sessions) as session:
        repo = ModelRepo(session)
        assert repo.register(model(running), running.token).version == 1
        session.execute(update(JobRow).values(token=2))  # the job was extended and claimed again
        assert repo.register(model(running), 2).version == 2
        assert [repo.resolve(ref).version for ref in ("digits", "digits@latest", "digits@1", "digits@2")] == [
            2,
            2,
            1,
            2,
        ]
        repo.set_alias("digits", "champion", 1)
        repo.set_alias("digits", "default", 1)
        assert [repo.resolve(ref).version for ref in ("digits@champion", "digits", "digits@latest")] == [1, 1, 2]
        repo.set_alias("digits", "champion", 2)
        assert repo.resolve("digits@champion").version == 2
        assert repo.get_aliases("digits") == {"champion": 2, "default": 1}
        repo.delete_alias("digits", "default")
        assert repo.resolve("digits").version == 2
        assert [row.version for row in repo.list_versions("digits")] == [2, 1]
        assert repo.list_names() == (["digits"], None)
        for ref in ("digits@3", "digits@nobody", "nobody", "digits@@1", "../x", "digits@99999999999999999999"):
            with pytest.raises(NotFound):
                repo.resolve(ref)
        for alias in ("latest", "7"):
            with pytest.raises(InvalidSpec):
                repo.set_alias("digits", alias, 1)
        with pytest.raises(NotFound):
            repo.set_alias("digits", "champion", 9)


def test_a_stale_attempt_registers_no_model(sessions: SessionFactory, running: JobRow) -> None:
    with pytest.raises(LostLease), transaction(sessions) as session:
        ModelRepo(session).register(model(running), token=0)
    with pytest.raises(NotFound), transaction(sessions) as session:
        ModelRepo(session).list_versions("digits")


def test_names_are_paged(sessions: SessionFactory, running: JobRow) -> None:
    with transaction(sessions) as session:
        repo = ModelRepo(session)
        for token, name in enumerate(("a", "b", "c"), start=running.token):
            session.execute(update(JobRow).values(token=token))
            repo.register(model(running, name), token)
        first, after = repo.list_names(limit=2)
        assert (first, repo.list_names(after=after)) == (["a", "b"], (["c"], None))
