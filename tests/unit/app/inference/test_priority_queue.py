"""The order in which the queues of a model are emptied."""

import numpy as np

from app.inference.priority_queue import AGING_INTERVAL, PriorityQueues
from app.inference.types import Request

IMAGE = np.zeros((1, 1, 1), np.uint8)


def test_an_item_is_one_sample_of_a_request() -> None:
    queues, request = PriorityQueues(), Request([IMAGE] * 3, received_at=0.0)
    queues.put(request)
    (queue,) = queues.select_queues()
    assert [(item.request, item.sample_index) for item in queue] == [(request, 0), (request, 1), (request, 2)]


def test_queues_are_selected_by_priority_and_sometimes_by_age() -> None:
    queues = PriorityQueues()
    for received_at, priority in enumerate((3, 2, 1)):
        queues.put(Request([IMAGE], received_at=float(received_at), priority=priority))
    orders = [[queue[0].request.priority for queue in queues.select_queues()] for _ in range(AGING_INTERVAL)]
    assert orders == [[1, 2, 3]] * (AGING_INTERVAL - 1) + [[3, 2, 1]]


def test_empty_queues_are_not_selected() -> None:
    assert PriorityQueues().select_queues() == []
