"""Fills a database with finished jobs that have long metric curves."""

import math
import random
from itertools import islice

from sqlalchemy import insert

from core.db.clock import utc_now
from core.db.metric_rollup import MetricPoint
from core.db.repos.jobs import JobRepo
from core.db.repos.metric_rollups import MetricRollupRepo, build_rollups
from core.db.repos.metric_summaries import MetricSummaryRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import MetricPointRow
from core.jobs import JobState
from tests.support.builders import dataset_version, job, job_spec

NUM_EPOCHS = 100
CHUNK_STEPS = 10 * 4096


def build_loss(num_steps: int, rate: float) -> list[MetricPoint]:
    """Build a noisy curve that falls faster with a higher rate."""
    per_epoch = max(num_steps // NUM_EPOCHS, 1)
    return [
        MetricPoint("train", "loss", step, 1 + step // per_epoch, decay + random.uniform(0, 0.1), None, 10 * step)
        for step in range(1, num_steps + 1)
        for decay in (2.3 * math.exp(-3 * rate * step / num_steps),)
    ]


def build_accuracy(num_steps: int, rate: float) -> list[MetricPoint]:
    per_epoch = max(num_steps // NUM_EPOCHS, 1)
    return [
        MetricPoint("valid", "accuracy", epoch * per_epoch, epoch, 1 - math.exp(-rate * epoch / 20), None, 10 * epoch)
        for epoch in range(1, NUM_EPOCHS + 1)
    ]


def fill_jobs(sessions: SessionFactory, num_jobs: int, num_steps: int) -> list[str]:
    """Store jobs that have succeeded, each with a point of the loss at every step, and return their ids."""
    with transaction(sessions) as session:
        version = dataset_version()
        session.add(version)
    ids = []
    for number in range(num_jobs):
        rate = random.uniform(0.5, 2)
        changes = {"name": f"run-{number:03}", "optimizer": {"name": "adam", "lr": round(rate / 1000, 5)}}
        spec = job_spec(**changes, epochs=NUM_EPOCHS)
        with transaction(sessions) as session:
            row = job(version, name=spec["name"], spec=spec, state=JobState.SUCCEEDED, started_at=utc_now())
            row.finished_at, row.duration_s = utc_now(), 60.0
            ids.append(JobRepo(session).add(row).id)
            row.state = JobState.SUCCEEDED
        loss, accuracy = build_loss(num_steps, rate), build_accuracy(num_steps, rate)
        last = {"train_loss": loss[-1].value, "valid_accuracy": accuracy[-1].value}
        remaining = iter([*loss, *accuracy])
        while points := list(islice(remaining, CHUNK_STEPS)):
            with transaction(sessions) as session:
                session.execute(insert(MetricPointRow), [{"job_id": ids[-1], **it._asdict()} for it in points])
        with transaction(sessions) as session:
            MetricRollupRepo(session).store_rollups(ids[-1], build_rollups([*loss, *accuracy]))
            MetricSummaryRepo(session).record_epochs(ids[-1], [(NUM_EPOCHS, last)])
    return ids
