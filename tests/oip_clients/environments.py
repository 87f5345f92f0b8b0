"""The environments of clients that cannot be installed beside ours: one each under `var/oip-clients`, made once.

KServe asks for an older protobuf and pandas than ours, MLServer for an older FastAPI, each for another Starlette.
"""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLACE = ROOT / "var" / "oip-clients"
PACKAGES = {
    "kserve": ("kserve==0.21.0", "httpx==0.28.1"),
    "mlserver": ("mlserver==1.7.1", "tritonclient[http]==2.73.0", "pandas==3.1.1", "requests==2.34.2"),
}


def python_of(client: str) -> Path:
    """The interpreter of a client's environment, which is made where it is not there, or has other packages."""
    folder = PLACE / client
    python, stamp = folder / "bin" / "python", folder / ".packages"
    wanted = "\n".join(PACKAGES[client])
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    subprocess.run([*install, *PACKAGES[client]], check=True)
    stamp.write_text(wanted)
    return python
