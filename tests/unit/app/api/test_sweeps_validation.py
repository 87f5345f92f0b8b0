"""Invalid sweeps: each gets a problem with status and pointer, and nothing is stored."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.state import State
from core.db.queue_tables import OutboxRow
from core.db.session import transaction
from core.db.sweep_tables import SweepRow
from core.db.tables import DatasetVersionRow

BASE: dict[str, Any] = {"dataset": "digits", "architecture": "mlp", "epochs": 9}
LR: dict[str, Any] = {"type": "float", "low": 0.001, "high": 0.1}
SWEEP: dict[str, Any] = {"base": BASE, "space": {"/optimizer/lr": LR}, "sampler": "random"}
OPTIMIZERS: list[Any] = ["adam", {"name": "sgd", "lr": -1}]


@pytest.fixture(autouse=True)
def check_storage(state: State) -> Iterator[None]:
    """Check after each test that nothing was stored."""
    yield
    with transaction(state.sessions, read_only=True) as session:
        assert [session.query(table).count() for table in (SweepRow, OutboxRow, DatasetVersionRow)] == [0, 0, 0]


@pytest.mark.parametrize(
    ("changes", "pointer", "reason"),
    [
        ({"spaces": {}}, "/spaces", "did you mean 'space'"),
        ({"space": {}}, "/space", "at least 1 field"),
        ({"sampler": {"name": "tpes"}}, "/sampler", "did you mean 'tpe'"),
        ({"budget": {}}, "/budget", "at least one of trials, epochs and hours"),
        ({"parallel": 1001}, "/parallel", "less than or equal to 1000"),
        ({"space": {"/optimizer/lr": LR | {"low": "a"}}}, "/space/~1optimizer~1lr/low", "should be a number"),
        ({"space": {"/optimizer/lr": LR | {"low": 1}}}, "/space/~1optimizer~1lr", "low must be less than high"),
        ({"space": {"/optimizer/lr": LR | {"low": -1}}}, "/space/~1optimizer~1lr/low", "greater than 0"),
        ({"space": {"/dropout": LR}}, "/space/~1dropout", "unknown field 'dropout'"),
        (
            {"space": {"/optimizer": {"type": "choice", "values": OPTIMIZERS}}},
            "/space/~1optimizer/values/1/lr",
            "than 0",
        ),
        ({"space": {"/epochs": {"type": "int", "low": 1, "high": 9}}}, "/space/~1epochs", "same for all trials"),
        ({"first": [{"/optimizer/lr": 7}]}, "/first/0/~1optimizer~1lr", "from 0.001 to 0.1"),
        ({"base": {"architecture": "mlp"}}, "/base/dataset", "missing"),
        ({"base": BASE | {"epoch": 3}}, "/base/epoch", "did you mean 'epochs'"),
        ({"base": BASE | {"dataset": "digit"}}, "/base/dataset/name", "did you mean 'digits'"),
        ({"base": BASE | {"architecture": {"name": "mlp", "x": 1}}}, "/base/architecture/x", "unknown"),
        ({"base": BASE | {"model": "stats"}}, "/base/model", "is reserved"),
        ({"base": BASE | {"name": "stats"}}, "/base/name", "is reserved"),
        ({"name": "stats"}, "/name", "is reserved"),
        ({"base": BASE | {"kind": "evaluate"}}, "/base/kind", "should be 'train'"),
        ({"base": BASE | {"register": False}}, "/base/register", "use the field register of the sweep"),
        ({"base": BASE | {"milestones": {"epochs": [1]}}}, "/base/milestones", "set by the scheduler"),
        ({"objective": {"metric": "valid_acc"}}, "/objective/metric", "did you mean 'valid_accuracy'"),
        ({"scheduler": {"name": "asha", "min_epochs": 9}}, "/scheduler/min_epochs", "less than the epochs"),
        ({"budget": {"epochs": 3}}, "/budget/epochs", "at least 9"),
    ],
)
@pytest.mark.parametrize("query", ["", "?dry_run=true"])
def test_an_error_has_the_pointer_of_the_sweep(
    client: TestClient, query: str, changes: dict[str, Any], pointer: str, reason: str
) -> None:
    response = client.post(f"/v1/sweeps{query}", json=SWEEP | changes)
    assert response.status_code == 422, response.text
    errors = {error["pointer"]: error["detail"] for error in response.json()["errors"]}
    assert list(errors) == [pointer]
    assert reason in errors[pointer]


def test_the_metric_is_one_of_the_base(client: TestClient) -> None:
    changes = {"base": BASE | {"metrics": "f1"}, "objective": {"metric": "valid_accuracy"}}
    response = client.post("/v1/sweeps", json=SWEEP | changes)
    assert response.json()["errors"][0]["pointer"] == "/objective/metric"


def test_errors_of_the_base_and_of_the_space_are_reported_together(client: TestClient) -> None:
    changes = {"base": BASE | {"batch_size": 0}, "space": {"/optimizer/lr": LR | {"low": -1}}}
    response = client.post("/v1/sweeps", json=SWEEP | changes)
    pointers = {error["pointer"] for error in response.json()["errors"]}
    assert pointers == {"/base/batch_size", "/space/~1optimizer~1lr/low"}


def test_the_resolved_spec_of_a_job_is_a_base(client: TestClient) -> None:
    resolved = client.post("/v1/jobs?dry_run=true", json=BASE).json()["spec"]
    assert (resolved["register"], resolved["milestones"]) == (True, None)
    del resolved["dataset"]["version"]  # it is not imported yet
    response = client.post("/v1/sweeps?dry_run=true", json=SWEEP | {"base": resolved})
    assert response.status_code == 200, response.text
