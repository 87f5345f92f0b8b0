"""The committed OpenAPI document. `test_openapi` compares it with the document that the service builds."""

import json
from pathlib import Path
from typing import Any

COMMITTED = Path(__file__).parents[2] / "docs" / "reference" / "openapi.json"
DOCUMENT: dict[str, Any] = json.loads(COMMITTED.read_text(encoding="utf-8"))
"""Read from the file, because building it takes seconds, and every process that collects tests needs it."""
