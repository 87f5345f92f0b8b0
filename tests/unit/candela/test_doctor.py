"""The doctor's check of the engine: the workshop's figures."""

import os
from pathlib import Path

import pytest

from candela import doctor
from candela.errors import CandelaError

LINE = (
    "autograd -3.4 and 0.8; rosenbrock 6.962555e-05 after 1000 steps at (0.9918, 0.9830); lbfgs 20 + 7 evaluations to "
    "5.356e-12, strong Wolfe 22 to 6.606e-12; losses 0.81, 0.643351, 0.23665"
)


def test_workshop_figures_are_printed_with_all_digits() -> None:
    assert doctor.check_figures(Path("nowhere"), os.environ) == LINE


def test_wrong_figure_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    class Done:
        returncode = 0
        stdout = '[{"name": "loss: mse", "actual": 0.5, "expected": 0.81, "tolerance": 1e-6, "is_passed": false}]'

    monkeypatch.setattr("candela.doctor.subprocess.run", lambda *_, **__: Done)
    with pytest.raises(CandelaError, match=r"loss: mse is 0\.5, expected 0\.81"):
        doctor.check_figures(Path("nowhere"), os.environ)
