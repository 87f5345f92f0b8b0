"""The patterns of frozen parameters mean the same in the validation and in the training."""

import pytest

from core.spec.freezing import match_frozen_parameters
from worker.engine import transfer


@pytest.mark.parametrize("patterns", [[], ["*"], ["a.*", "!a.b"], ["!a.b", "a.*"], ["?.b", "!b*", "b.c"]])
def test_the_same_parameters_are_frozen_as_in_the_training(patterns: list[str]) -> None:
    names = ["a.b", "a.c", "b.b", "b.c"]
    assert match_frozen_parameters(patterns, names) == transfer.match_frozen_parameters(patterns, names)
