"""Fixtures of the archive tests."""

import pytest

from tests.support.archives import Make
from tests.support.images import write_tar, write_zip

ARCHIVES = [
    pytest.param(lambda path, files: write_zip(path, files), id="zip"),
    pytest.param(lambda path, files: write_tar(path, files), id="tar"),
    pytest.param(lambda path, files: write_tar(path, files, "w:gz"), id="tar.gz"),
]


@pytest.fixture(params=ARCHIVES)
def make(request: pytest.FixtureRequest) -> Make:
    """Return a function that writes files into an archive, for each format."""
    maker: Make = request.param
    return maker
