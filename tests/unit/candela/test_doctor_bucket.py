"""The doctor's check of a bucket."""

import os
from pathlib import Path

import pytest

from candela.doctor import check_storage
from candela.errors import CandelaError
from tests.support.s3 import S3Server

pytestmark = pytest.mark.services


def test_writable_bucket_passes(s3: S3Server, tmp_path: Path) -> None:
    url = s3.new_url()
    environment = {**os.environ, **s3.environment(), "CANDELA_STORAGE_URL": url}
    assert check_storage(tmp_path, environment) == f"{url} is writable"


def test_rejected_bucket_access_is_reported_in_one_line(s3: S3Server, tmp_path: Path) -> None:
    environment = {**os.environ, **s3.environment(), "CANDELA_STORAGE_URL": s3.new_url()}
    with pytest.raises(CandelaError, match="403") as told:
        check_storage(tmp_path, environment | {"AWS_SECRET_ACCESS_KEY": "wrong"})
    assert "\n" not in str(told.value)
    assert "wrong" not in str(told.value)
