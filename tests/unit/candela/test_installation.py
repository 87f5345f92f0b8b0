"""Commands that run the service say in one line what to install, if only the client is installed."""

import sys
from pathlib import Path

import pytest

from candela import CandelaError, installation
from candela.installation import ROOT, require_server


def test_an_installed_service_is_first_in_the_import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["/project", *sys.path])
    require_server()
    assert sys.path[0] == str(ROOT)


def test_a_client_without_the_service_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(installation, "ROOT", tmp_path)
    with pytest.raises(
        CandelaError, match=r"missing: app, core, models, worker.*pip install -e '\.\[server\]'"
    ) as caught:
        require_server()
    assert "\n" not in str(caught.value)


def test_a_clone_without_the_dependencies_of_the_service_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "find_spec", lambda name: None if name == "celery" else object())
    with pytest.raises(CandelaError, match="missing: celery"):
        require_server()
