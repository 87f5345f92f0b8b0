"""Everything that is configured, read once from `CANDELA_…` variables, checked and frozen."""

from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Settings(BaseSettings):
    """A wrong value stops the start, with the variable's name."""

    model_config = SettingsConfigDict(env_prefix="CANDELA_", env_file=".env", extra="ignore", frozen=True)

    home: Path = Field(default=Path("var"), description="Where everything is kept unless said otherwise.")
    database_url: str = Field(default="", description="SQLAlchemy URL; SQLite under `home` unless given.")
    redis_url: str = Field(default="", description="redis://…, or redis+socket:///path?virtual_host=0")
    storage_url: str = Field(
        default="", description="Where files live: file:///path or s3://bucket/prefix; `home`/store unless given."
    )
    cache: Path | None = Field(
        default=None, description="Folder for what is read from S3 or about to go there; `home`/cache unless given."
    )
    max_cache_bytes: PositiveInt = Field(default=50 * 2**30, description="Copies of what was read from S3.")
    datasets: Path | None = Field(
        default=None, description="Folder of the built-in datasets' files; `home`/datasets unless given."
    )

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        default=(), description="Accepted bearer keys, comma-separated; none are needed on loopback."
    )
    max_requests_per_s: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="Of one key, or without keys of one address, in the long run; 0 for no limit."
    )
    max_burst_requests: PositiveInt = Field(default=200, description="Of one key at once, where there is a limit.")
    max_wrong_keys_per_min: PositiveInt = Field(default=60, description="That one address may try.")

    slots: PositiveInt = Field(default=1, description="Trainings at a time on one worker.")
    lease_s: PositiveFloat = Field(default=30.0, description="A worker that is silent for so long has lost its job.")
    heartbeat_s: PositiveFloat = Field(default=5.0, description="How often a worker renews its lease.")
    grace_s: PositiveFloat = Field(default=30.0, description="How long a trainer may take to stop when asked.")
    stall_s: PositiveFloat = Field(default=600.0, description="A trainer that is silent for so long is killed.")
    maintenance_s: PositiveFloat = Field(
        default=5.0, description="How often the sweep looks for lost jobs and messages."
    )
    max_attempts: PositiveInt = Field(default=5, description="Attempts of a job before it fails as `worker_lost`.")

    max_upload_bytes: PositiveInt = 2 * 2**30
    max_unpacked_bytes: PositiveInt = 8 * 2**30
    max_archive_entries: PositiveInt = 1_000_000
    max_json_bytes: PositiveInt = 1 * 2**20
    max_inline_bytes: PositiveInt = 8 * 2**20
    max_predict_bytes: PositiveInt = 32 * 2**20
    max_image_bytes: PositiveInt = 16 * 2**20
    max_image_pixels: PositiveInt = 25_000_000
    predict_devices: str = Field(
        default="auto", description="`cpu`, or `cuda:0,cuda:1`: a process each; `auto`: every GPU, or the CPU."
    )
    http_processes: PositiveInt = Field(
        default=1, description="How many processes `candela up` answers HTTP with; they share the networks' process."
    )
    rendezvous_dir: Path | None = Field(
        default=None,
        description="Private folder. API processes with the same folder share inference processes; `candela up` sets it.",
    )
    max_batch_size: PositiveInt = 32
    max_waiting_predictions: PositiveInt = 512
    predict_precision: Literal["fp32", "bf16", "auto"] = Field(
        default="fp32", description="`auto`: bf16 where it is quicker and says the same of pictures tried at loading."
    )
    max_model_bytes: PositiveInt = Field(default=16 * 2**30, description="Weights in memory.")
    pinned_models: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Models loaded at the start that never leave memory for others, comma-separated."
    )
    max_predict_wait_s: PositiveFloat = Field(
        default=10.0, description="Predictions that would be answered later than this are refused at the door."
    )
    max_loaded_models: PositiveInt = 8
    log_level: str = "INFO"

    @field_validator("api_keys", mode="before")
    @classmethod
    def _split_api_keys(cls, value: object) -> object:
        return tuple(key.strip() for key in value.split(",") if key.strip()) if isinstance(value, str) else value

    @field_validator("pinned_models", mode="before")
    @classmethod
    def _split_pinned_models(cls, value: object) -> object:
        return tuple(name.strip() for name in value.split(",") if name.strip()) if isinstance(value, str) else value

    @cached_property
    def sqlalchemy_url(self) -> str:
        return self.database_url or f"sqlite:///{(self.home / 'candela.db').absolute()}"

    @cached_property
    def effective_storage_url(self) -> str:
        return self.storage_url or f"file://{(self.home / 'store').absolute()}"

    @cached_property
    def cache_dir(self) -> Path:
        return (self.cache or self.home / "cache").absolute()

    @cached_property
    def datasets_dir(self) -> Path:
        return (self.datasets or self.home / "datasets").absolute()
