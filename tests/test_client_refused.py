"""The words a hospital finds for a disk that does not take its answer."""

import errno
import os

import pytest

from client.refused import disk_refusal
from federation.messages import RefusalCode


def failed(number: int) -> OSError:
    return OSError(number, os.strerror(number), "/somewhere/DOE^JANE")


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "full"), (errno.EDQUOT, "full"), (errno.EROFS, "writable")]
)
def test_a_disk_that_takes_nothing_is_named_without_a_path(number: int, words: str) -> None:
    refusal = disk_refusal(failed(number))
    assert refusal is not None
    assert refusal.code is RefusalCode.DISK
    assert words in refusal.reason
    assert "DOE" not in refusal.reason


@pytest.mark.parametrize("err", [failed(errno.EIO), failed(errno.ENOENT), ValueError("full")])
def test_other_errors_are_not_the_disks(err: Exception) -> None:
    assert disk_refusal(err) is None
