"""Reads the settings from `CANDELA_…` environment variables and `.env`, and validates them."""

import ipaddress
import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, PositiveFloat, PositiveInt, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from core.file_permissions import DEFAULT_UMASK, UMASK_PATTERN
from core.host_resources import get_memory_bytes

PREFIX = "CANDELA_"
ENV_FILE = ".env"
BROKER_SCHEMES = ("redis", "rediss", "redis+socket")
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]

HOST_PATTERN = re.compile(r"\*|(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\]", re.IGNORECASE)
ORIGIN_PATTERN = re.compile(r"https?://([a-z0-9_.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?", re.IGNORECASE)
MODEL_MEMORY_SHARE = 0.25  # of the memory; trainings, the database and the activations of models need memory too
RetentionDays = Annotated[float, Field(ge=0, le=36_500, allow_inf_nan=False)]


class Settings(BaseSettings):
    """The settings of all processes. An invalid value stops the process at its start."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=ENV_FILE, env_ignore_empty=True, extra="ignore", frozen=True, allow_inf_nan=False
    )

    home: Path = Field(
        default=Path("var"), description="Folder for all data. Other settings can move parts of the data elsewhere."
    )
    database_url: str = Field(default="", description="SQLAlchemy URL of the database. Default: SQLite in `home`.")
    redis_url: str = Field(
        default="", description="URL of a Redis or Valkey server: redis://… or redis+socket:///path?virtual_host=0."
    )
    storage_url: str = Field(
        default="", description="URL of the file storage: file:///path or s3://bucket/prefix. Default: `home`/store."
    )
    cache: Path | None = Field(
        default=None, description="Local folder for cached files from S3 and files to upload. Default: `home`/cache."
    )
    max_cache_bytes: PositiveInt = Field(
        default=50 * 2**30, description="Maximum total size of the local cache of files from S3."
    )
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
        default=(), description="Accepted API keys, separated by commas. Required if `host` is not loopback."
    )
    session_idle_s: Annotated[float, Field(ge=60, le=365 * 24 * 3600)] = Field(
        default=8 * 3600.0, description="Seconds without a request after which a session of a web browser ends."
    )
    session_lifetime_s: Annotated[float, Field(ge=60, le=365 * 24 * 3600)] = Field(
        default=7 * 24 * 3600.0, description="Seconds after which a session of a web browser ends in any case."
    )
    max_requests_per_s: Annotated[float, Field(ge=0)] = Field(
        default=0.0,
        description="Maximum requests per second of each API key (without keys: of each address); 0: unlimited.",
    )
    max_burst_requests: PositiveInt = Field(
        default=200,
        description="Requests of one API key or address that can arrive at once despite `max_requests_per_s`.",
    )
    max_wrong_keys_per_min: PositiveInt = Field(
        default=60, description="Maximum number of invalid API keys per client address and minute."
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Accepted Host names, such as `candela.example.org`, `*.example.org` or `*`."
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Origins of web pages that may use the API, such as `https://app.example.org`."
    )
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Addresses or networks of proxies whose `X-Forwarded-…` headers count, or `*`."
    )
    max_connections: PositiveInt = Field(default=16384, description="Maximum connections of an HTTP process.")

    slots: PositiveInt = Field(default=1, description="Number of concurrent trainings per worker.")
    import_slots: Annotated[int, Field(ge=0)] = Field(
        default=0,
        description="Number of concurrent imports per worker; 0: one per core and 2 GiB of memory, at most 4.",
    )
    lease_s: PositiveFloat = Field(default=30.0, description="Seconds without a heartbeat after which a lease expires.")
    heartbeat_s: PositiveFloat = Field(default=5.0, description="Seconds between two lease renewals of a worker.")
    grace_s: PositiveFloat = Field(
        default=30.0, description="Seconds that a trainer has to stop after a stop request before it is killed."
    )
    stall_s: PositiveFloat = Field(
        default=600.0, description="Seconds without progress after which a trainer is killed."
    )
    maintenance_s: PositiveFloat = Field(default=5.0, description="Seconds between two rounds of the maintenance loop.")
    max_attempts: PositiveInt = Field(default=5, description="Number of lost attempts after which a job fails.")
    checkpoint_retention_days: RetentionDays = Field(
        default=0.0, description="Days after the end of a job until its checkpoints are deleted; 0: never."
    )
    artifact_retention_days: RetentionDays = Field(
        default=0.0, description="Days after the end of a job until its artifacts are deleted; 0: never."
    )
    event_retention_days: RetentionDays = Field(
        default=0.0, description="Days after the end of a job until its log and progress are deleted; 0: never."
    )
    metric_retention_days: RetentionDays = Field(
        default=0.0, description="Days after the end of a job until only the rollups of its curves remain; 0: never."
    )
    job_retention_days: RetentionDays = Field(
        default=0.0, description="Days after its end until a job without registered models is deleted; 0: never."
    )
    archive_retention_days: RetentionDays = Field(
        default=0.0, description="Days for which uploaded files of datasets are kept after their import; 0: not at all."
    )
    retention_dry_run: bool = Field(
        default=False, description="Whether `GET /v1/system` only reports what retention would delete."
    )

    max_feature_bytes: PositiveInt = Field(
        default=4 * 2**30, description="Maximum size of the cached outputs of frozen layers, per training."
    )
    max_upload_bytes: PositiveInt = Field(default=2 * 2**30, description="Maximum size of an uploaded file.")
    max_open_uploads: PositiveInt = Field(
        default=100, description="Maximum number of unfinished resumable uploads of each API key, or without keys."
    )
    max_open_upload_bytes: PositiveInt = Field(
        default=16 * 2**30, description="Maximum total size of the unfinished resumable uploads of each API key."
    )
    upload_expiry_s: Annotated[float, Field(gt=0, le=30 * 24 * 3600)] = Field(
        default=24 * 3600.0, description="Seconds without new bytes after which a resumable upload is deleted."
    )
    max_unpacked_bytes: PositiveInt = Field(default=8 * 2**30, description="Maximum unpacked size of an archive.")
    max_archive_entries: PositiveInt = Field(default=1_000_000, description="Maximum number of entries of an archive.")
    max_import_s: Annotated[float, Field(gt=0, le=7 * 24 * 3600)] = Field(
        default=4 * 3600.0, description="Maximum duration of a dataset import in seconds."
    )
    max_json_bytes: PositiveInt = Field(default=1 * 2**20, description="Maximum size of a JSON request body.")
    max_inline_bytes: PositiveInt = Field(default=8 * 2**20, description="Maximum size of a dataset sent as JSON.")
    max_predict_bytes: PositiveInt = Field(default=32 * 2**20, description="Maximum size of a prediction request.")
    max_buffered_bytes: PositiveInt = Field(
        default=256 * 2**20, description="Maximum total size of request bodies in the memory of an HTTP process."
    )
    max_image_bytes: PositiveInt = Field(default=16 * 2**20, description="Maximum size of an encoded image.")
    max_image_pixels: PositiveInt = Field(default=25_000_000, description="Maximum height times width of an image.")
    predict_devices: str = Field(
        default="auto",
        description="Devices for inference, one process each: `cpu` or `cuda:0,cuda:1`. `auto`: all GPUs, or the CPU.",
    )
    http_processes: PositiveInt = Field(default=1, description="Number of HTTP processes that `candela up` starts.")
    rendezvous_dir: Path | None = Field(
        default=None, description="Private folder; API processes with the same folder share inference processes."
    )
    max_batch_size: PositiveInt = Field(default=32, description="Maximum number of samples per inference batch.")
    max_waiting_predictions: PositiveInt = Field(
        default=512, description="Maximum number of queued samples per inference process."
    )
    predict_precision: Literal["fp32", "bf16", "auto"] = Field(
        default="fp32",
        description="Precision of inference. `auto`: bf16 for models for which bf16 is faster and agrees with fp32.",
    )
    predict_variant: Literal["none", "auto"] = Field(
        default="none",
        description="Variant that serves predictions on a CPU by default. `auto`: the fastest variant of each trained "
        "version that is accurate enough; the worker makes it after the training.",
    )
    max_model_bytes: PositiveInt | None = Field(
        default=None, description="Maximum total memory of all loaded models. Default: a quarter of the memory."
    )
    pinned_models: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Models whose default versions are always in memory, separated by commas."
    )
    max_predict_wait_s: PositiveFloat = Field(
        default=10.0,
        description="Maximum predicted queue time in seconds; requests that would wait longer are rejected.",
    )
    max_loaded_models: PositiveInt = Field(default=1000, description="Maximum number of models of an HTTP process.")
    max_metric_models: PositiveInt = Field(
        default=20, description="Maximum number of model versions with separate Prometheus series."
    )
    log_level: LogLevel = Field(
        default="INFO", description="Lowest level that is logged: `DEBUG`, `INFO`, `WARNING`, `ERROR` or `CRITICAL`."
    )

    @field_validator(
        "api_keys",
        "pinned_models",
        "allowed_hosts",
        "cors_origins",
        "trusted_proxies",
        "child_variables",
        mode="before",
    )
    @classmethod
    def _split_list(cls, value: object) -> object:
        return tuple(item.strip() for item in value.split(",") if item.strip()) if isinstance(value, str) else value

    @field_validator("log_level", mode="before")
    @classmethod
    def _normalize_log_level(cls, value: object) -> object:
        return value.strip().upper() if isinstance(value, str) else value

    @field_validator("allowed_hosts")
    @classmethod
    def _check_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if not HOST_PATTERN.fullmatch(host):
                raise ValueError(f"{host!r} must be a host name without scheme and port, `*.` and a domain, or `*`")
        return tuple(host.lower() for host in hosts)

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if not ORIGIN_PATTERN.fullmatch(origin):
                raise ValueError(f"{origin!r} must be an origin, such as `https://app.example.org`, without a path")
        return tuple(origin.lower() for origin in origins)

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            if proxy == "*":
                continue
            try:
                ipaddress.ip_network(proxy)
            except ValueError as error:
                raise ValueError(f"{error}; it must be an address, a network such as `10.0.0.0/8`, or `*`") from None
        return proxies

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            is_valid = parts.scheme in {"", *BROKER_SCHEMES} and parts.port != 0 and not (value and not parts.scheme)
        except ValueError:  # the error may contain a part of the password
            is_valid = False
        if not is_valid:
            raise ValueError(
                "must be redis://user:password@host:port/0, rediss://… with TLS, or "
                "redis+socket:///path?virtual_host=0; quote special characters of the password, for example / as %2F"
            )
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
    def effective_max_model_bytes(self) -> int:
        """Return `max_model_bytes`, or the default for the memory of this machine or container."""
        return self.max_model_bytes or int(MODEL_MEMORY_SHARE * get_memory_bytes())

    @property
    def queues_variants(self) -> bool:
        """Whether a job that chooses a variant is queued for each version of a training."""
        return self.predict_variant == "auto"

    @cached_property
    def cache_dir(self) -> Path:
        """Return the absolute path of the cache folder."""
        return (self.cache or self.home / "cache").absolute()

    @cached_property
    def datasets_dir(self) -> Path:
        """Return the absolute path of the datasets folder."""
        return (self.datasets or self.home / "datasets").absolute()


def get_variable_name(field_name: str) -> str:
    """Return the name of the environment variable of a setting."""
    return f"{PREFIX}{field_name.upper()}"
