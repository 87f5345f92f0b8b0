"""A client whose requests are valid is served while another client sends hostile inputs in parallel."""

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import Service, services
from tests.support.hostile_requests import INPUTS, HostileInput
from tests.support.hostile_senders import HostileSenders
from tests.support.well_behaved_client import OPERATIONS, WellBehavedClient, pause_job

pytestmark = [pytest.mark.slow, pytest.mark.services, pytest.mark.timeout(300)]
NUM_SENDERS = 4


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with a trained model."""
    with services() as start:
        service = start(tmp_path_factory.mktemp("noisy") / "home")
        WellBehavedClient(service.url).train_model()
        yield service


@pytest.fixture(scope="module")
def paused_job_id(service: Service) -> str:
    return pause_job(service.url)


@pytest.mark.parametrize("hostile_input", INPUTS, ids=lambda hostile_input: hostile_input.name)
def test_all_operations_succeed_next_to_hostile_inputs(
    service: Service, paused_job_id: str, hostile_input: HostileInput
) -> None:
    client = WellBehavedClient(service.url)
    with HostileSenders(hostile_input, service.url, paused_job_id, NUM_SENDERS) as senders:
        senders.start()
        client.run_job()
        senders.stop()
    assert client.failures == []
    assert all(client.waits_s[operation] for operation in OPERATIONS)
