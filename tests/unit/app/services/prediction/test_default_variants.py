"""Variants serve by default only with the setting, and only on the CPU."""

from typing import Any

import pytest

from app.services.prediction.default_variants import DefaultVariants

CPU, GPU = {"device": "cpu"}, {"device": "cuda:0"}


@pytest.mark.parametrize(
    ("is_enabled", "devices", "started", "is_active"),
    [
        (True, "cpu", [], True),
        (True, "cpu, cpu", [], True),
        (True, "cpu,cuda:0", [CPU], False),
        (True, "cuda:0", [GPU], False),
        (True, "auto", [CPU], True),
        (True, "auto", [GPU], False),
        (True, "auto", [], False),
        (False, "cpu", [CPU], False),
    ],
)
def test_default_variants_need_the_setting_and_a_cpu(
    is_enabled: bool, devices: str, started: list[dict[str, Any]], is_active: bool
) -> None:
    variants = DefaultVariants(is_enabled=is_enabled, devices=devices, list_devices=lambda: started)
    assert variants.is_active is is_active


def test_there_are_none_by_default() -> None:
    assert not DefaultVariants().is_active
