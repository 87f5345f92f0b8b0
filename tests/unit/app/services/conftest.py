"""A version cache for the model `shapes` with two versions and an alias."""

import pytest

from app.services.prediction.version_cache import VersionCache
from app.state import State
from tests.support import bundles
from tests.support.fakes import Clock


@pytest.fixture
def version_cache(state: State, clock: Clock) -> VersionCache:
    for version in (1, 2):
        bundles.register_model(state.sessions, state.storage, "shapes", version, seed=version)
    bundles.set_alias(state.sessions, "shapes", "champion", 1)
    return VersionCache(state.sessions, clock=clock)
