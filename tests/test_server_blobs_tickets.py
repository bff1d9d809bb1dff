"""A token opens its space, for its right and its time, and nothing else."""

import base64
import json
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.blobs.tickets import (
    KeyUnusable,
    TokenExpired,
    TokenRefused,
    check_token,
    load_key,
    sign_token,
)

KEY = bytes(range(32))
LATER = int(time.time()) + 3600


def token() -> str:
    return sign_token(KEY, site="a", space="study-1.a", right="leave", expires=LATER)


def test_a_token_opens_its_space_for_its_right() -> None:
    before = time.time()
    given = check_token(KEY, token(), space="study-1.a", right="leave")
    assert given.site == "a"
    assert before <= given.since <= time.time()


@pytest.mark.parametrize(
    ("space", "right"),
    [("study-1.b", "leave"), ("study-1.a", "fetch"), ("study-1", "leave"), ("", "leave")],
)
def test_a_token_opens_nothing_else(space: str, right: str) -> None:
    with pytest.raises(TokenRefused):
        check_token(KEY, token(), space=space, right=right)  # type: ignore[arg-type]


def test_a_token_of_another_coordinator_opens_nothing() -> None:
    with pytest.raises(TokenRefused):
        check_token(bytes(32), token(), space="study-1.a", right="leave")


def test_a_token_says_so_when_its_time_is_over() -> None:
    old = sign_token(KEY, site="a", space="s", right="fetch", expires=int(time.time()) - 1)
    with pytest.raises(TokenExpired):
        check_token(KEY, old, space="s", right="fetch")


def test_claims_cannot_be_exchanged_under_a_signature() -> None:
    signature = token().partition(".")[2]
    claims = {"space": "study-1.b", "right": "leave", "expires": LATER}
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    with pytest.raises(TokenRefused):
        check_token(KEY, f"{body}.{signature}", space="study-1.b", right="leave")


def test_no_character_of_a_token_can_be_changed() -> None:
    good = token()
    for place, letter in enumerate(good):
        other = "A" if letter != "A" else "B"
        changed = good[:place] + other + good[place + 1 :]
        with pytest.raises(TokenRefused):
            check_token(KEY, changed, space="study-1.a", right="leave")


def test_not_even_the_bits_of_a_token_that_mean_nothing_can_be_changed() -> None:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    good = token()
    other = letters[letters.index(good[-1]) ^ 1]
    with pytest.raises(TokenRefused):
        check_token(KEY, good[:-1] + other, space="study-1.a", right="leave")


@given(text=st.text(max_size=2000))
def test_whatever_is_shown_is_refused_and_nothing_else_happens(text: str) -> None:
    with pytest.raises(TokenRefused):
        check_token(KEY, text, space="study-1.a", right="leave")


def test_processes_that_start_at_once_have_one_key_that_only_its_owner_reads(
    tmp_path: Path,
) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(load_key, [tmp_path] * 8))
    assert len(keys) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["blobs.key"]
    assert stat.S_IMODE((tmp_path / "blobs.key").stat().st_mode) == 0o600


def test_a_damaged_key_is_not_used_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "blobs.key").write_bytes(b"short secret")
    with pytest.raises(KeyUnusable, match="remove it and restart") as refused:
        load_key(tmp_path)
    assert "short secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("space", "right", "opens"),
    [
        ("up.1.a.0123456789abcdef", "open", True),
        ("up.1.a.0123456789abcdef", "leave", True),
        ("up.1.a.0123456789abcdef", "fetch", False),
        ("up.1.b.0123456789abcdef", "open", False),
        ("up.1.a.0123456789abcde", "open", False),
        ("up.1.a.0123456789abcdef.0123456789abcdef", "leave", False),
        ("up.1.a", "open", False),
        ("up.1.a", "leave", False),
    ],
)
def test_leave_to_open_boxes_is_for_those_of_its_owner_alone(
    space: str, right: str, *, opens: bool
) -> None:
    token = sign_token(KEY, site="a", space="up.1.a", right="open", expires=LATER)
    if opens:
        assert check_token(KEY, token, space=space, right=right).site == "a"  # type: ignore[arg-type]
    else:
        with pytest.raises(TokenRefused):
            check_token(KEY, token, space=space, right=right)  # type: ignore[arg-type]


def test_leave_to_leave_something_is_no_leave_to_open_a_box() -> None:
    space = "up.1.a.0123456789abcdef"
    token = sign_token(KEY, site="a", space=space, right="leave", expires=LATER)
    with pytest.raises(TokenRefused):
        check_token(KEY, token, space=space, right="open")
