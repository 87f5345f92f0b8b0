"""Request bodies that change a job, and parts of the responses that lists of jobs consist of."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from app.schemas.tags import Tags
from core.spec.base import Spec
from core.spec.schedules import ScheduleSpec

MAX_NOTE_CHARACTERS = 10_000


class ExtendIn(Spec):
    """The additional epochs of a job, and their schedule."""

    epochs: Annotated[int, Field(ge=1, le=1_000_000, examples=[5], description="Number of additional epochs.")]
    schedule: ScheduleSpec | None = Field(
        default=None,
        description="A new schedule for the additional epochs, which starts from the learning rate of the optimizer. "
        "Default: the schedule of the job continues. After its planned end, the learning rate is constant, which a "
        "warning states; if it would be 0, the request is rejected with 422.",
    )


class ChangesIn(Spec):
    """Changes to a job. Fields that are left out do not change."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"priority": 10}, {"tags": ["baseline"], "note": "Best so far."}]}
    )

    priority: Annotated[
        int | None,
        Field(ge=-1000, le=1000, examples=[10], description="Workers claim jobs with a higher priority first."),
    ] = None
    tags: Tags | None = Field(
        default=None, description="All tags of the job. An empty array deletes them.", examples=[["baseline"]]
    )
    note: Annotated[str | None, Field(max_length=MAX_NOTE_CHARACTERS)] = Field(
        default=None, description="A note in Markdown. `null` deletes it.", examples=["Best so far."]
    )

    @model_validator(mode="after")
    def _check_changes(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("must have at least one of priority, tags and note")
        for name in ("priority", "tags"):
            if name in self.model_fields_set and getattr(self, name) is None:
                raise ValueError(f"{name} must not be null; leave it out to keep its value")
        return self


class JobFieldsOut(BaseModel):
    """A job in a list, with the fields that the parameter `fields` selects."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)

    id: str = Field(description="The id of the job.")
