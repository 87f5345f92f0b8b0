"""Finds `CANDELA_…` variables of the environment that are not settings, or that have been renamed."""

import os

from dotenv import dotenv_values

from core.settings import ENV_FILE, PREFIX, Settings, get_variable_name

RENAMED_VARIABLES = {  # old name -> new name; an old name stops the start instead of being ignored
    "CANDELA_MAX_PICTURE_BYTES": "CANDELA_MAX_IMAGE_BYTES",
    "CANDELA_MAX_PICTURE_PIXELS": "CANDELA_MAX_IMAGE_PIXELS",
    "CANDELA_MEETING": "CANDELA_RENDEZVOUS_DIR",
    "CANDELA_SWEEP_S": "CANDELA_MAINTENANCE_S",
}

SYNONYMS: dict[str, str] = {
    "home": "DATA_DIR DATA ROOT VAR_DIR",
    "database_url": "DB_URL DB DSN POSTGRES_URL SQLALCHEMY_URL",
    "redis_url": "QUEUE_URL BROKER BROKER_URL CELERY_BROKER_URL VALKEY_URL",
    "storage_url": "S3_BUCKET S3_URL BUCKET BUCKET_URL",
    "host": "BIND BIND_ADDRESS ADDRESS SERVER_HOST",
    "port": "SERVER_PORT HTTP_PORT LISTEN_PORT",
    "api_keys": "KEY KEYS TOKEN TOKENS API_TOKEN AUTH_TOKEN",
    "cors_origins": "CORS ORIGINS ALLOWED_ORIGINS",
    "max_requests_per_s": "RATE_LIMIT MAX_RATE",
    "slots": "WORKERS NUM_WORKERS CONCURRENCY WORKER_CONCURRENCY",
    "http_processes": "WEB_CONCURRENCY API_WORKERS HTTP_WORKERS",
    "predict_devices": "DEVICE DEVICES GPU GPUS",
    "predict_variant": "VARIANT VARIANTS",
    "log_level": "DEBUG VERBOSE LOGLEVEL",
}
"""Other services' names of variables, without the prefix, by the setting that they mean."""

OTHER_VARIABLES = frozenset({"CANDELA_URL", "CANDELA_API_KEY", "CANDELA_LISTEN"})
"""Variables that are not settings: those of the client, and of docker-compose.yml."""


def find_variables() -> set[str]:
    """Return the names of all `CANDELA_…` variables of the environment and of `.env`, in upper case."""
    names = {name.upper() for name in (*os.environ, *dotenv_values(ENV_FILE))}
    return {name for name in names if name.startswith(PREFIX)}


def find_renamed_variables() -> dict[str, str]:
    """Return the old variable names that are set, with their new names."""
    found = find_variables()
    return {old: new for old, new in RENAMED_VARIABLES.items() if old in found}


def find_unknown_variables(settings: Settings) -> list[str]:
    """Return the names of `CANDELA_…` variables that are not settings, sorted. Nothing reads them."""
    accepted = {get_variable_name(field_name) for field_name in Settings.model_fields} | OTHER_VARIABLES
    return sorted(find_variables() - accepted - set(settings.child_variables) - set(RENAMED_VARIABLES))
