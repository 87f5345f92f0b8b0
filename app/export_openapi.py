"""`python -m app.export_openapi PATH` writes the OpenAPI document, so that code reviews show changes to the API."""

import json
import sys
from pathlib import Path

from app.main import create_app
from core.settings import Settings


def render_document() -> str:
    """Return the OpenAPI document as JSON, formatted as in `docs/reference/openapi.json`."""
    return json.dumps(create_app(Settings()).openapi(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(render_document(), encoding="utf-8")
