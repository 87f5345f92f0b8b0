"""Describes how a finished training job is extended by more epochs."""

from pydantic import BaseModel, ConfigDict, Field


class Extension(BaseModel):
    """The extension of a job. The schedule of its spec covers the epochs after `schedule_start`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    from_epoch: int = Field(description="The number of epochs that were complete before the extension.")
    schedule_start: int = Field(description="The number of epochs that were complete before the schedule started.")
    schedule_epochs: int = Field(description="The number of epochs for which the schedule was planned.")

    @property
    def has_new_schedule(self) -> bool:
        """Whether the schedule starts with this extension."""
        return self.schedule_start == self.from_epoch

    @property
    def schedule_end(self) -> int:
        """The last epoch for which the schedule was planned."""
        return self.schedule_start + self.schedule_epochs
