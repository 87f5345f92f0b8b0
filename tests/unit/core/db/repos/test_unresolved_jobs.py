"""Jobs that the service itself submits."""

from core.db.repos.unresolved_jobs import build_unresolved_job
from core.spec import JobSpec


def test_a_job_has_the_columns_of_its_spec_and_waits_for_its_resolution() -> None:
    fields = {
        "name": "again",
        "model": "pets",
        "dataset": {"name": "digits"},
        "architecture": {"name": "mlp"},
        "epochs": 7,
    }
    job = build_unresolved_job(JobSpec.model_validate(fields), dataset_version_id="v1", priority=-3, sweep_trial=2)
    assert (job.kind, job.name, job.model_name, job.spec["epochs"]) == ("train", "again", "pets", 7)
    assert (job.is_resolved, job.dataset_version_id, job.priority, job.sweep_trial) == (False, "v1", -3, 2)
    assert job.progress["epochs"] == 7
