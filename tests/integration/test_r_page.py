"""The script of docs/how-to/r.md runs from start to end in R, against a running service."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from core.spec import ANY_JOB
from tests.support.stack import SECRET, Stack

PAGE = Path("docs/how-to/r.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```r\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
NAMES = re.compile(r'name = "([a-z_]+)"')
RSCRIPT = shutil.which("Rscript")


def has_packages() -> bool:
    command = [RSCRIPT or "", "-e", 'stopifnot(requireNamespace("httr"), requireNamespace("jsonlite"))']
    return RSCRIPT is not None and subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_every_name_of_the_luz_table_exists() -> None:
    table = PAGE.split("## luz", 1)[1]
    schema = str(ANY_JOB.json_schema())
    names = {name for name in NAMES.findall(table) if name != "digits"}
    assert {"early_stopping", "keep_best", "one_cycle", "gradient_clip"} <= names
    assert [name for name in sorted(names) if f"'{name}'" not in schema] == []


def test_the_helper_has_about_twenty_lines() -> None:
    assert len([line for line in BLOCKS[0].splitlines() if line.strip()]) <= 20


@pytest.mark.slow
@pytest.mark.services
@pytest.mark.skipif(not has_packages(), reason="requires R with httr and jsonlite")
def test_the_script_trains_follows_and_predicts(stack: Stack, tmp_path: Path) -> None:
    script = tmp_path / "page.R"
    script.write_text("\n".join(BLOCKS), encoding="utf-8")
    environment = os.environ | {"CANDELA_URL": stack.url, "CANDELA_API_KEY": SECRET, "LC_ALL": "C.UTF-8"}
    command = [RSCRIPT or "", str(script)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "resnet81" in done.stdout
    assert "epoch 5 of 5: valid_loss" in done.stdout
    accuracy = re.search(r"accuracy: ([0-9.]+)", done.stdout)
    assert accuracy is not None
    assert float(accuracy[1]) > 0.8
    assert re.search(r"label: \d probability: 0\.\d+|label: \d probability: 1", done.stdout)
    assert re.search(r"a blank image: \d", done.stdout)
    assert (tmp_path / "curves.pdf").read_bytes().startswith(b"%PDF")
    (model,) = [one for one in stack.http.get("/v1/models").json()["items"] if one["name"] == "digits-r"]
    assert model["versions"][0]["version"] == 1
