"""The peers' environments: one venv each under `var/serving/envs`, torch alone shared with this one's environment.

    python -m benchmarks.serving.environments [litserve mlserver torchserve bentoml]

torch and the CUDA libraries it is linked to are 5 GB; a folder of links to them, named in a `.pth` file of each
environment, spares one copy a peer and makes sure that all compute with the very same build. All else is their own.
BENCH_PLACE names another folder.
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
    "mlserver": ("mlserver==1.7.1", "uvloop<0.22"),  # its workers ask for a loop that newer ones do not make
    "torchserve": ("torchserve==0.12.0", "pyyaml", "psutil"),
    "bentoml": ("bentoml==1.4.39",),
}


def python_of(peer: str) -> Path:
    """The interpreter of a peer's environment."""
    return PLACE / "envs" / peer / "bin" / "python"


def is_there(peer: str) -> bool:
    return (PLACE / "envs" / peer / ".ready").exists()


def version(peer: str) -> str:
    return PACKAGES[peer][0].partition("==")[2]


def make(peer: str) -> None:
    """Make a peer's environment, where it is not there yet."""
    if is_there(peer):
        return
    folder = PLACE / "envs" / peer
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "shared_torch.pth").write_text(f"{_links()}\n")
    install = [str(python_of(peer)), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    subprocess.run([*install, *COMMON, *PACKAGES[peer]], check=True)
    subprocess.run([str(python_of(peer)), "-c", f"import torch, {peer if peer != 'torchserve' else 'ts'}"], check=True)
    (folder / ".ready").touch()


def _links() -> Path:
    """A folder with nothing but links to torch, as it is installed beside this interpreter."""
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
            make(peer)
            print(f"{peer}: ready, {python_of(peer)}")
        except subprocess.CalledProcessError as error:
            failed.append(peer)
            print(f"{peer}: could not be made: {error}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
