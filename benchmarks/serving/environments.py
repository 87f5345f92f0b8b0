"""Creates the peers' environments: one venv each in `var/serving/envs`. They share the torch of this environment.

    python -m benchmarks.serving.environments [litserve mlserver torchserve bentoml]

torch and its CUDA libraries are 5 GB. Each environment has a `.pth` file with a folder of links to them. This saves
one copy per peer, and all peers compute with the same build. All other packages are installed separately. BENCH_PLACE
selects another folder.
"""

import argparse
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

PLACE = Path(os.environ.get("BENCH_PLACE") or Path(__file__).parents[2] / "var" / "serving").absolute()
LINKED = ("torch", "torchgen", "functorch", "nvidia", "triton")
TORCH_NEEDS = ("sympy", "networkx", "jinja2", "filelock", "fsspec", "typing_extensions", "setuptools<81")
COMMON = ("numpy==2.4.6", "pillow==13.0.0", "safetensors==0.8.0", *TORCH_NEEDS)
PACKAGES = {
    "litserve": ("litserve==0.2.19", "uvloop", "httptools", "python-multipart"),
    "mlserver": (
        "mlserver==1.7.1",
        "uvloop<0.22",
    ),  # newer versions of uvloop do not create the event loop that its workers need
    "torchserve": ("torchserve==0.12.0", "pyyaml", "psutil"),
    "bentoml": ("bentoml==1.4.39",),
}


def get_python(peer: str) -> Path:
    """Return the path of the interpreter in a peer's environment."""
    return PLACE / "envs" / peer / "bin" / "python"


def is_ready(peer: str) -> bool:
    return (PLACE / "envs" / peer / ".ready").exists()


def get_version(peer: str) -> str:
    return PACKAGES[peer][0].partition("==")[2]


def make_environment(peer: str) -> None:
    """Create a peer's environment if it does not exist."""
    if is_ready(peer):
        return
    folder = PLACE / "envs" / peer
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "shared_torch.pth").write_text(f"{_link_torch()}\n")
    install = [str(get_python(peer)), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    subprocess.run([*install, *COMMON, *PACKAGES[peer]], check=True)
    subprocess.run([str(get_python(peer)), "-c", f"import torch, {peer if peer != 'torchserve' else 'ts'}"], check=True)
    (folder / ".ready").touch()


def _link_torch() -> Path:
    """Create a folder of links to the torch packages of this interpreter."""
    folder, site = PLACE / "shared-torch", Path(sysconfig.get_path("purelib"))
    folder.mkdir(parents=True, exist_ok=True)
    for name in LINKED:
        if (site / name).exists() and not (folder / name).exists():
            (folder / name).symlink_to(site / name)
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peers", nargs="*", default=list(PACKAGES))
    failed = []
    for peer in parser.parse_args().peers:
        try:
            make_environment(peer)
            print(f"{peer}: ready, {get_python(peer)}")
        except subprocess.CalledProcessError as error:
            failed.append(peer)
            print(f"{peer}: could not be created: {error}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
