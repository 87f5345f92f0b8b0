"""Messages between supervisor and trainer as JSON lines."""

import pytest
from pydantic import ValidationError

from core.jobs import StopMode
from tests.support.builders import job_spec
from worker.protocol import (
    SUPERVISOR_MESSAGES,
    TRAINER_MESSAGES,
    ArtifactWritten,
    CheckpointWritten,
    FileDigest,
    LeaseRenewed,
    RunFailed,
    RunStopped,
    Start,
    Stop,
    SupervisorMessage,
    TrainerMessage,
)

DIGEST = {"sha256": "0" * 64, "size_bytes": 1}
START = Start.model_validate(
    {
        "job_id": "j",
        "attempt": 1,
        "spec": job_spec(),
        "dataset_dir": "d",
        "dataset": {},
        "work_dir": "w",
        "lease_s": 30.0,
    }
)


@pytest.mark.parametrize("message", [START, LeaseRenewed(), *(Stop(mode=mode) for mode in StopMode)])
def test_a_message_to_the_trainer_survives_json(message: SupervisorMessage) -> None:
    assert SUPERVISOR_MESSAGES.validate_json(message.model_dump_json()) == message


@pytest.mark.parametrize(
    "message",
    [
        CheckpointWritten(
            dir="c", epoch=1, step=2, metrics={"valid_loss": "NaN"}, tags=("best",), files={"f": FileDigest(**DIGEST)}
        ),
        RunStopped(mode=StopMode.PREEMPT),
    ],
)
def test_a_message_from_the_trainer_survives_json(message: TrainerMessage) -> None:
    line = message.model_dump_json()
    assert "\n" not in line
    assert TRAINER_MESSAGES.validate_json(line) == message


@pytest.mark.parametrize(
    "line", ["{}", '{"type": "unknown"}', '{"type": "alive", "more": 1}', '{"type": "stopped", "mode": "x"}']
)
def test_an_unknown_message_field_or_mode_is_rejected(line: str) -> None:
    with pytest.raises(ValidationError):
        TRAINER_MESSAGES.validate_json(line)


@pytest.mark.parametrize("name", ["../evil", "a/b", ""])
def test_an_artifact_cannot_have_a_path_as_its_name(name: str) -> None:
    with pytest.raises(ValidationError):
        ArtifactWritten(dir="d", name=name, media_type="text/csv", sha256="0" * 64, size_bytes=1)


def test_run_failed_rejects_unknown_failure_codes() -> None:
    assert RunFailed(code="diverged", message="", hint="").code == "diverged"
    with pytest.raises(ValidationError, match="'nope' is not a failure code"):
        RunFailed(code="nope", message="", hint="")
