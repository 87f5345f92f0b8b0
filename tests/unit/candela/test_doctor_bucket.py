"""The doctor's check of a bucket."""

import os
from pathlib import Path

import pytest

from candela.doctor import check_storage
from candela.errors import CandelaError
from tests.support.moto import moto_server
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


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "has no credentials: set AWS_ACCESS_KEY_ID"),
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "Check the AWS_… credentials and their permission"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "cannot be reached at http://127.0.0.1:1: check AWS_ENDPOINT_URL"),
        ({"AWS_ENDPOINT_URL": "s3.example.org"}, "AWS_ENDPOINT_URL='s3.example.org' must be a URL such as https://"),
    ],
)
def test_what_is_wrong_with_a_bucket_is_one_line_with_what_to_do(
    changes: dict[str, str], reason: str, s3: S3Server, tmp_path: Path
) -> None:
    environment = {**os.environ, **s3.environment(), "CANDELA_STORAGE_URL": s3.new_url()} | changes
    with pytest.raises(CandelaError) as raised:
        check_storage(tmp_path, {name: value for name, value in environment.items() if value})
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_bucket_is_reported_with_its_server(tmp_path: Path) -> None:
    with moto_server() as server:
        environment = {**os.environ, **server.environment(), "CANDELA_STORAGE_URL": "s3://no-such-bucket/x"}
        with pytest.raises(CandelaError, match=r"The bucket of s3://no-such-bucket/x does not exist") as raised:
            check_storage(tmp_path, environment)
    assert "\n" not in str(raised.value)
