"""Examples of every member of the spec unions, with the fields that they require."""

from typing import Any, get_args

from pydantic import BaseModel

REQUIRED_FIELDS: dict[str, dict[str, Any]] = {
    "several": {
        "parts": [
            {"match": "*weight", "optimizer": {"name": "sgd", "momentum": 0.9}},
            {"match": "*", "optimizer": {"name": "adam"}},
        ]
    },
    "step": {"step_size": 1},
    "multi_step": {"milestones": [1]},
    "cosine_warm_restarts": {"t_0": 1},
    "cyclic": {"base_lr": 1e-4, "max_lr": 1e-2},
    "one_cycle": {"max_lr": 1e-2},
    "lambda": {"factors": [1.0, 0.5]},
    "multiplicative": {"factors": [0.5]},
    "sequential": {"schedules": [{"name": "constant"}, {"name": "cosine"}], "milestones": [1]},
    "time_limit": {"seconds": 1e6},
    "freeze": {"match": "*weight", "until_epoch": 1},
    "affine": {"degrees": 10},
    "normalize": {"mean": [0.5], "std": [0.25]},
    "random_apply": {"transforms": [{"name": "horizontal_flip"}]},
    "random_choice": {"transforms": [{"name": "horizontal_flip"}, {"name": "rotation"}]},
    "random_order": {"transforms": [{"name": "random_crop"}, {"name": "rotation"}]},
    "top_k": {"k": 2},
}


def build_member(name: str) -> dict[str, Any]:
    """Build the JSON of a union's member from its required fields."""
    return {"name": name, **REQUIRED_FIELDS.get(name, {})}


def list_names(union: object) -> list[str]:
    """List the names of all members of a union, including nested ones."""
    names: list[str] = []
    for member in get_args(union):
        if isinstance(member, type) and issubclass(member, BaseModel):
            names.append(member.model_fields["name"].default)
        elif get_args(member):
            names.extend(list_names(member))
    return names
