"""Reads the settings from `CANDELA_…` environment variables and `.env`, and validates them."""

import os
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, PositiveFloat, PositiveInt, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from core.file_permissions import DEFAULT_UMASK, UMASK_PATTERN

RENAMED_VARIABLES = {  # old name -> new name; an old name stops the start instead of being ignored
    "CANDELA_MAX_PICTURE_BYTES": "CANDELA_MAX_IMAGE_BYTES",
    "CANDELA_MAX_PICTURE_PIXELS": "CANDELA_MAX_IMAGE_PIXELS",
    "CANDELA_MEETING": "CANDELA_RENDEZVOUS_DIR",
    "CANDELA_SWEEP_S": "CANDELA_MAINTENANCE_S",
}


class Settings(BaseSettings):
    """The settings of all processes. An invalid value stops the process at its start."""

    model_config = SettingsConfigDict(env_prefix="CANDELA_", env_file=".env", extra="ignore", frozen=True)

    home: Path = Field(default=Path("var"), description="Folder of all data. Other settings can move parts of it.")
    database_url: str = Field(default="", description="SQLAlchemy URL. Default: SQLite in `home`.")
    redis_url: str = Field(default="", description="redis://…, or redis+socket:///path?virtual_host=0")
    storage_url: str = Field(
        default="", description="Storage of files: file:///path or s3://bucket/prefix. Default: `home`/store."
    )
    cache: Path | None = Field(
        default=None, description="Folder for downloads from S3 and files to upload. Default: `home`/cache."
    )
    max_cache_bytes: PositiveInt = Field(default=50 * 2**30, description="Maximum size of the downloads from S3.")
    datasets: Path | None = Field(
        default=None, description="Folder with the files of built-in datasets. Default: `home`/datasets."
    )

    umask: Annotated[str, Field(pattern=f"^{UMASK_PATTERN}$")] = Field(
        default=DEFAULT_UMASK, description="Access that new files deny, as an octal number from 000 to 077."
    )
    child_variables: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Names of further variables that child processes inherit, separated by commas."
    )

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: Annotated[int, Field(ge=0, le=65535, description="Port to listen on.")] = 8000
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        default=(), description="Accepted API keys, separated by commas. Not required on loopback."
    )
    max_requests_per_s: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="Rate limit per key, or per address without keys; 0: unlimited."
    )
    max_burst_requests: PositiveInt = Field(default=200, description="Burst size of the rate limit.")
    max_wrong_keys_per_min: PositiveInt = Field(default=60, description="Invalid keys per address and minute.")

    slots: PositiveInt = Field(default=1, description="Concurrent trainings per worker.")
    lease_s: PositiveFloat = Field(default=30.0, description="Time without heartbeat after which a lease expires.")
    heartbeat_s: PositiveFloat = Field(default=5.0, description="Interval in which a worker renews its leases.")
    grace_s: PositiveFloat = Field(default=30.0, description="Time a trainer has to stop before it is killed.")
    stall_s: PositiveFloat = Field(default=600.0, description="Time without progress after which a trainer is killed.")
    maintenance_s: PositiveFloat = Field(default=5.0, description="Interval of the maintenance loop.")
    max_attempts: PositiveInt = Field(default=5, description="Lost attempts after which a job fails.")

    max_upload_bytes: PositiveInt = Field(default=2 * 2**30, description="Maximum size of an uploaded archive.")
    max_unpacked_bytes: PositiveInt = Field(default=8 * 2**30, description="Maximum unpacked size of an archive.")
    max_archive_entries: PositiveInt = Field(default=1_000_000, description="Maximum number of entries of an archive.")
    max_json_bytes: PositiveInt = Field(default=1 * 2**20, description="Maximum size of a JSON body.")
    max_inline_bytes: PositiveInt = Field(default=8 * 2**20, description="Maximum size of a dataset sent as JSON.")
    max_predict_bytes: PositiveInt = Field(default=32 * 2**20, description="Maximum size of a prediction request.")
    max_image_bytes: PositiveInt = Field(default=16 * 2**20, description="Maximum size of an encoded image.")
    max_image_pixels: PositiveInt = Field(default=25_000_000, description="Maximum height times width of an image.")
    predict_devices: str = Field(
        default="auto", description="`cpu`, or one process per device: `cuda:0,cuda:1`; `auto`: all GPUs, else the CPU."
    )
    http_processes: PositiveInt = Field(default=1, description="HTTP processes that `candela up` starts.")
    rendezvous_dir: Path | None = Field(
        default=None, description="Private folder; API processes with the same folder share inference processes."
    )
    max_batch_size: PositiveInt = Field(default=32, description="Maximum number of samples per inference batch.")
    max_waiting_predictions: PositiveInt = Field(default=512, description="Maximum number of queued samples.")
    predict_precision: Literal["fp32", "bf16", "auto"] = Field(
        default="fp32", description="`auto`: bf16 if it is faster and its predictions agree when the model is loaded."
    )
    max_model_bytes: PositiveInt = Field(default=16 * 2**30, description="Maximum size of all loaded weights.")
    pinned_models: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Models that are loaded at the start and never unloaded, separated by commas."
    )
    max_predict_wait_s: PositiveFloat = Field(
        default=10.0, description="Maximum predicted queue time of a prediction; longer ones are rejected."
    )
    max_loaded_models: PositiveInt = Field(default=8, description="Maximum number of loaded models.")
    log_level: str = Field(default="INFO", description="`DEBUG`, `INFO`, `WARNING` or `ERROR`.")

    @field_validator("api_keys", mode="before")
    @classmethod
    def _split_api_keys(cls, value: object) -> object:
        return tuple(key.strip() for key in value.split(",") if key.strip()) if isinstance(value, str) else value

    @field_validator("pinned_models", "child_variables", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        return tuple(name.strip() for name in value.split(",") if name.strip()) if isinstance(value, str) else value

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, value: str) -> str:
        try:
            _ = urlsplit(value).port
        except ValueError:  # the error may contain a part of the password
            raise ValueError(
                "must be redis://user:password@host:port/0 or redis+socket:///path?virtual_host=0; quote special "
                "characters of the password, for example / as %2F"
            ) from None
        return value

    @cached_property
    def sqlalchemy_url(self) -> str:
        """Return `database_url`, or the URL of the default SQLite database in `home`."""
        return self.database_url or f"sqlite:///{(self.home / 'candela.db').absolute()}"

    @cached_property
    def effective_storage_url(self) -> str:
        """Return `storage_url`, or the URL of the default storage in `home`."""
        return self.storage_url or f"file://{(self.home / 'store').absolute()}"

    @cached_property
    def cache_dir(self) -> Path:
        """Return the absolute path of the cache folder."""
        return (self.cache or self.home / "cache").absolute()

    @cached_property
    def datasets_dir(self) -> Path:
        """Return the absolute path of the datasets folder."""
        return (self.datasets or self.home / "datasets").absolute()


def find_renamed_variables() -> dict[str, str]:
    """Return the old variable names that the environment sets, with their new names."""
    return {old: new for old, new in RENAMED_VARIABLES.items() if old in os.environ}
