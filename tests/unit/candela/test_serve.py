"""The limit of open files of the HTTP process."""

import resource
from typing import Any

import pytest

from candela.serve import raise_file_limit


@pytest.mark.parametrize(
    ("soft", "hard", "num_files", "raised", "returned"),
    [
        (1024, 4096, 2000, 2000, 2000),
        (1024, 4096, 9000, 4096, 4096),
        (1024, resource.RLIM_INFINITY, 9000, 9000, 9000),
        (4096, 4096, 2000, None, 4096),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 2000, None, 2000),
    ],
)
def test_the_soft_limit_is_raised_up_to_the_hard_limit(
    soft: int, hard: int, num_files: int, raised: int | None, returned: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    applied: list[Any] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: applied.append(limits))
    assert raise_file_limit(num_files) == returned
    assert applied == ([] if raised is None else [(raised, hard)])
