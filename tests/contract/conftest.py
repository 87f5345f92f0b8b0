"""Fixtures of an HTTP service without API keys."""

from tests.support.http_service import client, settings_options, state

__all__ = ["client", "settings_options", "state"]
