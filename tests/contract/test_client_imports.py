"""The SDK and the commands of the client import no package of the service, and `import candela` is light."""

import subprocess
import sys

import pytest

SERVER = "app core models worker migrations torch torchvision celery cv2 sqlalchemy fastapi numpy PIL pandas"
SDK = """
import candela
from candela import AsyncClient, Client
with Client("http://127.0.0.1:1") as client:
    client.is_ready()
"""
SERVICE_MODULES = "components demo doctor home managed_process sample_digits serve up"  # they run the service
COMMANDS = f"""
import importlib, pkgutil
import candela
skipped = {{"candela." + name for name in "__main__ {SERVICE_MODULES}".split()}}
names = [module.name for module in pkgutil.walk_packages(candela.__path__, "candela.") if module.name not in skipped]
assert len(names) > 40
for name in names:
    importlib.import_module(name)
"""
REPORT = f"""
import sys
print(sorted({{name.partition(".")[0] for name in sys.modules}} & set({SERVER!r}.split())))
"""


@pytest.mark.parametrize("script", [SDK, COMMANDS], ids=["sdk", "commands"])
def test_the_client_imports_no_package_of_the_service(script: str) -> None:
    done = subprocess.run([sys.executable, "-c", script + REPORT], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_the_package_loads_no_library() -> None:
    """`candela up` and `candela --help` do not need httpx, whose import takes a tenth of a second."""
    script = "import sys; before = {*sys.modules}; import candela; print(*({*sys.modules} - before))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    names = {name.partition(".")[0] for name in done.stdout.split()}
    assert names - sys.stdlib_module_names == {"candela"}


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    import candela

    with pytest.raises(AttributeError, match="no attribute 'Server'"):
        _ = candela.Server
    assert {name for name in candela.__all__ if getattr(candela, name) is None} == set()
