"""The queue: it carries ids, as hints to look; the database carries the truth. The only file of core with Celery."""

from typing import Any, Literal, Protocol

import redis
from celery import Celery
from kombu.exceptions import KombuError

from core.errors import ConfigurationError

CANARY = "canary"  # a message about nothing: whoever takes it shows that it takes messages
Topic = Literal["train", "train-gpu", "import"]  # each a queue of its own; workers with a GPU listen to all three
TASKS: dict[Topic, str] = {
    "train": "worker.tasks.train",
    "train-gpu": "worker.tasks.train",
    "import": "worker.tasks.import_dataset",
}

# Nothing renews the time of a message that is not acknowledged, and the shortest of the three places wins.
# With early acknowledgement only messages reserved by a worker that died are meant; the sweep is quicker.
VISIBILITY_TIMEOUT_S = 7 * 24 * 3600
SOCKET_TIMEOUT_S = 30  # without one, a publish to a half-open connection waits for ever
PUBLISH_TIMEOUT_S = 5


class QueueUnavailable(Exception):
    """The message did not leave; try again later."""


class Queue(Protocol):
    def put(self, topic: Topic, subject_id: str) -> None:
        """Send the hint that there may be work.

        Raises:
            QueueUnavailable: it did not leave. It never waits longer than some seconds.
        """

    def depth(self, topic: Topic) -> int:
        """How many hints wait to be taken.

        Raises:
            QueueUnavailable: the queue cannot be asked.
        """


class CeleryQueue:
    """Sends tasks by name; it knows no code of the worker."""

    def __init__(self, redis_url: str) -> None:
        self._celery = build_celery(redis_url)
        self._celery.conf.broker_transport_options |= {"socket_timeout": PUBLISH_TIMEOUT_S}

    def put(self, topic: Topic, subject_id: str) -> None:
        try:
            self._celery.send_task(TASKS[topic], args=[subject_id], queue=topic, retry=False)
        except (KombuError, redis.RedisError, OSError) as error:
            raise QueueUnavailable(str(error)) from error

    def depth(self, topic: Topic) -> int:
        try:
            with self._celery.connection_for_write() as connection:
                return int(connection.default_channel.client.llen(topic))
        except (KombuError, redis.RedisError, OSError) as error:
            raise QueueUnavailable(str(error)) from error


def build_celery(redis_url: str) -> Celery:
    """A Celery application with the one configuration that senders and workers share.

    Args:
        redis_url: `redis://…` or `redis+socket:///path?virtual_host=0`.
    """
    if not redis_url:
        raise ConfigurationError("CANDELA_REDIS_URL: the queue needs the URL of a Redis or Valkey server")
    celery = Celery("candela", broker=redis_url, set_as_current=False)
    celery.conf.update(_build_celery_config())
    return celery


def _build_celery_config() -> dict[str, Any]:
    transport = {
        "visibility_timeout": VISIBILITY_TIMEOUT_S,
        "socket_timeout": SOCKET_TIMEOUT_S,
        "socket_connect_timeout": PUBLISH_TIMEOUT_S,
        "socket_keepalive": True,
        "health_check_interval": 25,
        "max_retries": 0,
    }
    return {
        "broker_transport_options": transport,
        "result_backend_transport_options": {"visibility_timeout": VISIBILITY_TIMEOUT_S},
        "visibility_timeout": VISIBILITY_TIMEOUT_S,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "task_ignore_result": True,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_acks_late": False,  # a late acknowledgement runs a long task twice, the first still healthy
        "task_reject_on_worker_lost": False,
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_proc_alive_timeout": 120,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "worker_send_task_events": False,
        "enable_utc": True,
        "task_create_missing_queues": True,
    }
