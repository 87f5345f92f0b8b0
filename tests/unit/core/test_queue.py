"""The queue on Valkey with a unix socket, and on Debian's Redis."""

import json

import pytest

from core.errors import ConfigurationError
from core.queue import CeleryQueue, QueueUnavailable, build_celery
from tests.support.servers import RedisServer

pytestmark = pytest.mark.services


def list_messages(server: RedisServer, topic: str) -> list[tuple[str, list[str]]]:
    """List (task, arguments) of all messages of a queue, oldest first."""
    with server.client as client:
        messages = [json.loads(body) for body in client.lrange(topic, 0, -1)]
    return [(m["headers"]["task"], json.loads(_body(m))[0]) for m in reversed(messages)]


def _body(message: dict[str, str]) -> bytes:
    import base64

    return base64.b64decode(message["body"])


@pytest.mark.parametrize("server", ["own_valkey", "debian_redis"])
def test_a_message_is_a_task_with_an_id(server: str, request: pytest.FixtureRequest) -> None:
    redis: RedisServer = request.getfixturevalue(server)
    queue = CeleryQueue(redis.url)
    queue.put("train", "job-1")
    queue.put("train", "job-2")
    queue.put("import", "version-1")
    assert list_messages(redis, "train") == [("worker.tasks.train", ["job-1"]), ("worker.tasks.train", ["job-2"])]
    assert list_messages(redis, "import") == [("worker.tasks.import_dataset", ["version-1"])]
    assert (queue.depth("train"), queue.depth("import")) == (2, 1)


def test_an_unavailable_server_is_reported_until_it_returns(own_valkey: RedisServer) -> None:
    queue = CeleryQueue(own_valkey.url)
    queue.put("train", "job-1")
    own_valkey.kill()
    with pytest.raises(QueueUnavailable):
        queue.put("train", "job-2")
    with pytest.raises(QueueUnavailable):
        queue.depth("train")
    own_valkey.start()
    queue.put("train", "job-3")
    # The last message before a kill can be lost if the disk is slow: the server responds before it writes.
    assert [args for _, args in list_messages(own_valkey, "train")][-1] == ["job-3"]


def test_a_missing_url_error_names_its_variable() -> None:
    with pytest.raises(ConfigurationError, match="CANDELA_REDIS_URL"):
        build_celery("")


def test_long_trainings_are_not_delivered_twice() -> None:
    """Check options whose defaults would run a healthy job twice or kill it."""
    conf = build_celery("redis://127.0.0.1:1/0").conf
    assert conf.task_acks_late is False
    assert conf.worker_disable_prefetch is True
    assert conf.worker_cancel_long_running_tasks_on_connection_loss is False
    assert conf.visibility_timeout >= 7 * 24 * 3600
    assert conf.broker_transport_options["visibility_timeout"] == conf.visibility_timeout
    assert conf.result_backend_transport_options["visibility_timeout"] == conf.visibility_timeout
    assert conf.accept_content == ["json"]
