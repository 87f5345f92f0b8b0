"""Maps names in snapshots of version 0.1 to the names that this version uses.

The JSON file of a snapshot contains the names of its parts, of the callbacks' classes and of some fields. To rename one
of them in the code, add the old and the new name here, so that older snapshots still load. Keys of tensors in
`state.safetensors` do not have to be added, because `snapshot.json` refers to them.
"""

import re
from collections.abc import Mapping
from typing import Any

DOCUMENT_KEYS = {"words": "metadata"}
PARTS = {"train_tally": "train_accumulator", "relief": "oom_splitter", "switches": "disabled_callbacks"}
CALLBACK_CLASSES = {
    "BatchSchedule": "BatchLrScheduler",
    "EpochSchedule": "EpochLrScheduler",
    "PlateauSchedule": "PlateauLrScheduler",
}
PART_FIELDS = {
    "state": {"is_cut_short": "stop_immediately"},
    "train_accumulator": {"mass": "total_weight", "pending_masses": "pending_weights"},
}
CALLBACK_FIELDS = {"BatchLrScheduler": {"_ends": "_momentum_range"}}
CALLBACK_KEY = re.compile(r"callback_(?P<index>\d+)_(?P<class_name>\w+)")


def update_document(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of `snapshot.json` with old names replaced by current names."""
    updated = _rename_keys(document, DOCUMENT_KEYS)
    if isinstance(updated.get("parts"), dict):
        updated["parts"] = dict(_update_part(name, part) for name, part in updated["parts"].items())
    return updated


def _update_part(name: str, part: Any) -> tuple[str, Any]:  # noqa: ANN401 - any state
    match = CALLBACK_KEY.fullmatch(name)
    if match is None:
        name = PARTS.get(name, name)
        fields = PART_FIELDS.get(name, {})
    else:
        class_name = CALLBACK_CLASSES.get(match["class_name"], match["class_name"])
        name = f"callback_{match['index']}_{class_name}"
        fields = CALLBACK_FIELDS.get(class_name, {})
    return name, _rename_keys(part, fields) if isinstance(part, dict) else part


def _rename_keys(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(key, key): value for key, value in values.items()}
