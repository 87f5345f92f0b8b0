"""Limits the number of JSON values of a prediction request to what its model can use."""

from app.services.prediction.version_cache import ServedModel

VALUES_PER_INPUT_VALUE = 4
"""A value and the array that contains only this value need 2. A value of a row and its key need 2."""
EXTRA_VALUES_PER_INSTANCE = 64
EXTRA_VALUES_PER_REQUEST = 1024


def compute_max_json_values(model: ServedModel, max_instances: int) -> int:
    """Return how many values and keys the JSON of a request may have, if it has at most `max_instances` instances."""
    per_instance = VALUES_PER_INPUT_VALUE * model.num_input_values + EXTRA_VALUES_PER_INSTANCE
    return EXTRA_VALUES_PER_REQUEST + max_instances * per_instance
