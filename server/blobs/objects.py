"""A bucket's objects, through boto3: the only file that knows it. Credentials come from where boto3 always looks."""

import base64
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from model.arrays import replacing

if TYPE_CHECKING:
    from types import ModuleType

READ_BYTES = 2**20
MAX_LINK_SECONDS = 7 * 24 * 3600
"""No bucket signs a link for longer."""
DELETED_AT_ONCE = 1000
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
MISSING = frozenset({"404", "NoSuchKey", "NotFound"})


class NoBucketClient(RuntimeError):
    """The package that talks to buckets is an extra."""

    def __init__(self) -> None:
        super().__init__(
            "a bucket needs the extra `bucket`: install fedcxr[bucket] at the coordinator, or start it without "
            "--bucket."
        )


class WrongBucketURL(ValueError):
    """Not a bucket's address."""

    def __init__(self, url: str) -> None:
        super().__init__(
            f"{url!r} does not name a bucket: write s3://BUCKET/PREFIX, or https://HOST/BUCKET/PREFIX for a "
            "bucket that is not Amazon's."
        )


class BucketUnusable(RuntimeError):
    """The bucket did not do what it was asked."""

    def __init__(self, bucket: str, reason: str) -> None:
        super().__init__(
            f"the bucket {bucket} cannot be used ({reason}): check its address, the coordinator's network, and "
            "the credentials in the coordinator's environment."
        )


class NotTheObject(Exception):
    """No such object, or another one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BucketAddress:
    """Where a bucket is."""

    bucket: str
    prefix: str
    """What every key begins with; empty, or ends in a slash."""
    endpoint: str | None
    """Of a bucket that is not Amazon's."""


def bucket_address(url: str) -> BucketAddress:
    """Read ``s3://BUCKET/PREFIX`` or ``https://HOST/BUCKET/PREFIX`` (``http`` only on this machine).

    Raises:
        WrongBucketURL: if it is neither.
    """
    parts = urlsplit(url)
    endpoint = None
    names = [name for name in parts.path.split("/") if name]
    if parts.scheme == "s3":
        names = [parts.netloc, *names]
    elif parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK):
        endpoint = f"{parts.scheme}://{parts.netloc}"
    else:
        raise WrongBucketURL(url)
    if not names or not names[0] or "@" in parts.netloc:
        raise WrongBucketURL(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl())
    prefix = "".join(f"{name}/" for name in names[1:])
    return BucketAddress(bucket=names[0], prefix=prefix, endpoint=endpoint)


class Objects:
    """What is in one bucket under one prefix; keys here are without it."""

    def __init__(self, address: BucketAddress) -> None:
        self._address = address
        self._errors = _imported("botocore.exceptions")

    def put(self, key: str, content: bytes, digest: str) -> None:
        """Put an object whose SHA-256 is this; the bucket checks it."""
        checksum = base64.b64encode(bytes.fromhex(digest)).decode()
        with self._asking():
            self._client.put_object(**self._named(key), Body=content, ChecksumSHA256=checksum)

    def sizes(self, prefix: str) -> dict[str, int]:
        """Every key that begins so, and the size of its object in bytes."""
        start = self._address.prefix
        with self._asking():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._address.bucket, Prefix=start + prefix
            )
            return {
                item["Key"].removeprefix(start): int(item["Size"])
                for page in pages
                for item in page.get("Contents", ())
            }

    def download(self, key: str, path: Path, digest: str) -> None:
        """Copy an object whose SHA-256 is this to ``path``.

        Raises:
            NotTheObject: if there is none, or it is another; then nothing is at ``path``.
        """
        with replacing(path) as partial:
            if self._copy(key, partial) != digest:
                raise NotTheObject

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects, there or not."""
        for first in range(0, len(keys), DELETED_AT_ONCE):
            some = [{"Key": self._address.prefix + key} for key in keys[first:][:DELETED_AT_ONCE]]
            with self._asking():
                answer = self._client.delete_objects(
                    Bucket=self._address.bucket, Delete={"Objects": some, "Quiet": True}
                )
            for refused in answer.get("Errors", ()):
                raise BucketUnusable(self._address.bucket, str(refused.get("Code", "unknown")))

    def get_link(self, key: str, *, seconds: int) -> str:
        """A URL by which anyone may get an object, for a while."""
        return self._link("get_object", self._named(key), seconds)

    def put_link(self, key: str, size: int, *, seconds: int) -> str:
        """A URL by which anyone may put an object of exactly this size, for a while."""
        return self._link("put_object", self._named(key) | {"ContentLength": size}, seconds)

    def _copy(self, key: str, path: Path) -> str:
        """SHA-256 of what was written to ``path``."""
        found = hashlib.sha256()
        with path.open("wb") as file, self._asking():
            body = self._client.get_object(**self._named(key))["Body"]
            for chunk in body.iter_chunks(READ_BYTES):
                found.update(chunk)
                file.write(chunk)
        return found.hexdigest()

    def _link(self, call: str, parameters: dict[str, object], seconds: int) -> str:
        sign: Callable[..., str] = self._client.generate_presigned_url
        with self._asking():
            return sign(call, Params=parameters, ExpiresIn=seconds)

    def _named(self, key: str) -> dict[str, object]:
        return {"Bucket": self._address.bucket, "Key": self._address.prefix + key}

    @cached_property
    def _client(self) -> Any:  # noqa: ANN401  boto3 makes its clients at run time, and has no types for them
        style = "path" if self._address.endpoint else "auto"
        config = _imported("botocore.config").Config(
            signature_version="s3v4",
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"mode": "standard", "max_attempts": 5},
            s3={"addressing_style": style},
        )
        boto3 = _imported("boto3")
        return boto3.client("s3", endpoint_url=self._address.endpoint, config=config)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Say in a sentence what the bucket refused; of an error of its own, the code alone."""
        try:
            yield
        except self._errors.ClientError as err:
            code = str(err.response.get("Error", {}).get("Code", "unknown"))
            if code in MISSING:
                raise NotTheObject from None
            raise BucketUnusable(self._address.bucket, code) from None
        except self._errors.BotoCoreError as err:
            raise BucketUnusable(self._address.bucket, type(err).__name__) from None


def _imported(name: str) -> "ModuleType":
    try:
        return import_module(name)
    except ModuleNotFoundError as err:
        raise NoBucketClient from err
