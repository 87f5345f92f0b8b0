"""The tables of rules by job kind."""

import pytest

from app.services.validation.report import ValidationReport
from app.services.validation.rules import RULES
from core.errors import InvalidSpec
from core.spec import ANY_JOB
from core.spec.job_kinds import KINDS, SPEC_BY_KIND
from tests.support.validation import CONVNET, find_errors, validation_context


def test_every_job_kind_has_rules() -> None:
    assert sorted(RULES) == sorted(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_job_kind_names_its_own_spec(kind: str) -> None:
    assert kind in SPEC_BY_KIND[kind].model_fields["kind"].annotation.__args__  # type: ignore[union-attr]


def test_all_errors_are_raised_at_once() -> None:
    errors = find_errors(batch_size=1000, metrics=["mae"], freeze=["stem.*"], device="cuda")
    assert [pointer for pointer, _ in errors] == ["/batch_size", "/metrics/0/name", "/device", "/freeze/0"]


def test_report_raises_its_first_error_as_detail() -> None:
    report = ValidationReport()
    report.raise_if_invalid()
    report.add("/epochs", "must be above 3")
    report.extend([("/0", "is not a name")], "/metrics")
    with pytest.raises(InvalidSpec, match="/epochs: must be above 3") as raised:
        report.raise_if_invalid()
    assert raised.value.errors == [("/epochs", "must be above 3"), ("/metrics/0", "is not a name")]


def test_lr_find_requires_increasing_learning_rates() -> None:
    body = {"kind": "lr_find", "dataset": {"name": "digits"}, "architecture": CONVNET, "start_lr": 0.1, "end_lr": 0.01}
    with pytest.raises(InvalidSpec) as raised:
        RULES["lr_find"].resolve(validation_context(ANY_JOB.validate_python(body)))
    assert raised.value.errors == [("/end_lr", "must be above start_lr, 0.1; got 0.01")]
