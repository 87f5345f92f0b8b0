"""Sends the ids of jobs and dataset versions to workers, as Celery messages. All other data is in the database."""

from typing import Any, Literal, Protocol

import redis
from celery import Celery
from kombu.exceptions import KombuError

from core.errors import ConfigurationError

CANARY = "canary"  # a message with this id instead of a job id checks that a worker consumes messages
Topic = Literal["train", "train-gpu", "import"]  # one queue per topic; workers with a GPU consume all three
TASKS: dict[Topic, str] = {
    "train": "worker.tasks.train",
    "train-gpu": "worker.tasks.train",
    "import": "worker.tasks.import_dataset",
}

# Celery reads the visibility timeout from three options and uses the shortest value, so all three are set. With early
# acknowledgement, the timeout applies only to messages that a lost worker had reserved. The maintenance
# loop sends these messages again long before the timeout.
VISIBILITY_TIMEOUT_S = 7 * 24 * 3600
SOCKET_TIMEOUT_S = 30  # without a timeout, a publish to a half-open connection would block forever
PUBLISH_TIMEOUT_S = 5


class QueueUnavailable(Exception):
    """The queue server cannot be reached. Retry later."""


class Queue(Protocol):
    def put(self, topic: Topic, subject_id: str) -> None:
        """Send the id of a job or dataset version to the workers.

        Raises:
            QueueUnavailable: the message could not be sent within a few seconds.
        """

    def depth(self, topic: Topic) -> int:
        """Return the number of waiting messages in a queue.

        Raises:
            QueueUnavailable: the queue server cannot be reached.
        """


class CeleryQueue:
    """Sends Celery tasks by name, so that the code of the worker is not imported."""

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
    """Build a Celery application with the configuration that senders and workers share.

    Args:
        redis_url: the URL of the broker, `redis://…` or `redis+socket:///path?virtual_host=0`.
    """
    if not redis_url:
        raise ConfigurationError("CANDELA_REDIS_URL is not set; set it to the URL of a Redis or Valkey server")
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
        "task_acks_late": False,  # with late acknowledgement, the broker would redeliver long tasks while they run
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
