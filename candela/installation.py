"""Finds out whether the service is installed, which the wheel of the client does not contain."""

import sys
from importlib.util import find_spec
from pathlib import Path

from candela.errors import CandelaError

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("app", "core", "models", "worker")  # next to `candela` in the repository
DEPENDENCIES = ("celery", "cv2", "fastapi", "sqlalchemy", "torch", "uvicorn")  # of the extra `server`
MESSAGE = (
    "this command runs the service, which is not installed ({missing}); in a clone of the repository, run "
    "`pip install -e '.[server]'` or `make setup`, or use the container images"
)


def require_server() -> None:
    """Check that the service is installed, and import its packages from its folder only.

    Raises:
        CandelaError: a package is missing.
    """
    missing = [name for name in PACKAGES if not (ROOT / name / "__init__.py").is_file()]
    missing = missing or [name for name in DEPENDENCIES if find_spec(name) is None]
    if missing:
        raise CandelaError(MESSAGE.format(missing=f"missing: {', '.join(missing)}"))
    if sys.path[0] != str(ROOT):
        sys.path.insert(0, str(ROOT))  # before folders of PYTHONPATH, which may have a file `core.py`
