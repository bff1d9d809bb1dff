"""Shards are left and fetched through the gateway over TLS, whole and in parts."""

from contextlib import closing

import pytest

from server.blobs.boxes import Boxes, boxes_path
from server.blobs.published import Published, published_path
from server.blobs.traffic import Traffic, traffic_path
from tests.faults.gateway_process import (
    BOX,
    OFFER,
    SHARD,
    SITE,
    Gateway,
    begun_put,
    shard_file,
    status_of,
    upload_offset,
    wait_for,
)


def test_a_shard_left_whole_is_there(gateway: Gateway) -> None:
    assert upload_offset(gateway.put(0, 0, SHARD)) == (201, len(SHARD))
    assert shard_file(gateway, 0).read_bytes() == SHARD
    assert gateway.offset(0) == len(SHARD)


def test_a_shard_left_in_parts_is_there_after_the_last(gateway: Gateway) -> None:
    assert gateway.offset(0) == 0
    assert upload_offset(gateway.put(0, 0, SHARD[:1000])) == (202, 1000)
    assert gateway.offset(0) == 1000
    assert upload_offset(gateway.put(0, 1000, SHARD[1000:2000])) == (202, 2000)
    assert not shard_file(gateway, 0).exists()
    assert upload_offset(gateway.put(0, 2000, SHARD[2000:])) == (201, len(SHARD))
    assert shard_file(gateway, 0).read_bytes() == SHARD


def test_what_passed_is_counted_for_the_hospital_whether_or_not_all_of_it_came(
    gateway: Gateway,
) -> None:
    traffic = Traffic(traffic_path(gateway.state))
    before = traffic.total(BOX, SITE), traffic.total(OFFER, SITE)
    gateway.put(0, 0, SHARD[:1000])
    gateway.put(0, 500, SHARD[500:])  # does not fit, and is not taken
    gateway.put(0, 1000, SHARD[1000:])
    with begun_put(gateway, 1, SHARD[:300_000]):
        wait_for(lambda: gateway.offset(1) > 0)
    gateway.get(0, wanted="bytes=5-9")
    gateway.get(0)

    def counted() -> tuple[int, int]:
        now = traffic.total(BOX, SITE), traffic.total(OFFER, SITE)
        return now[0] - before[0], now[1] - before[1]

    wait_for(lambda: counted() == (len(SHARD) + gateway.offset(1), len(SHARD) + 5))


@pytest.mark.parametrize("first", [0, 999, 1001])
def test_a_part_that_does_not_fit_to_what_is_there_changes_nothing(
    gateway: Gateway, first: int
) -> None:
    gateway.put(0, 0, SHARD[:1000])
    assert upload_offset(gateway.put(0, first, SHARD[first:])) == (409, 1000)
    assert upload_offset(gateway.put(0, 1000, SHARD[1000:])) == (201, len(SHARD))


def test_a_shard_that_is_there_is_not_taken_again(gateway: Gateway) -> None:
    gateway.put(0, 0, SHARD)
    assert upload_offset(gateway.put(0, 0, bytes(len(SHARD)))) == (201, len(SHARD))
    assert upload_offset(gateway.put(0, 5, SHARD[5:])) == (201, len(SHARD))
    assert shard_file(gateway, 0).read_bytes() == SHARD


def test_other_bytes_than_were_announced_do_not_stay(gateway: Gateway) -> None:
    gateway.put(0, 0, bytes(1000))
    assert upload_offset(gateway.put(0, 1000, SHARD[1000:])) == (422, 0)
    assert gateway.offset(0) == 0
    assert upload_offset(gateway.put(0, 0, SHARD)) == (201, len(SHARD))


def test_a_line_that_breaks_keeps_what_came(gateway: Gateway) -> None:
    with begun_put(gateway, 1, SHARD[:600_000]):
        wait_for(lambda: gateway.offset(1) > 0)
    wait_for(lambda: gateway.offset(1) == 600_000)
    wait_for(lambda: gateway.put(1, 600_000, SHARD[600_000:])[0] == 201)
    assert shard_file(gateway, 1).read_bytes() == SHARD


def test_two_callers_with_one_shard_do_not_mix(gateway: Gateway) -> None:
    with begun_put(gateway, 1, SHARD[:600_000]) as line:
        wait_for(lambda: gateway.offset(1) > 0)
        answer = gateway.put(1, 0, bytes(len(SHARD)))
        assert (answer[0], answer[1]["Retry-After"], answer[2]) == (409, "1", b"busy")
        line.send(SHARD[600_000:])
        assert status_of(line) == 201
    assert shard_file(gateway, 1).read_bytes() == SHARD


def test_a_shard_is_fetched_as_it_lies(gateway: Gateway) -> None:
    status, headers, content = gateway.get(0)
    assert (status, headers["Content-Length"]) == (200, str(len(SHARD)))
    assert content == SHARD
    assert gateway.get(1)[2] == SHARD[:100]


@pytest.mark.parametrize(
    ("wanted", "first", "end"),
    [
        ("bytes=1000-", 1000, 2**20),
        ("bytes=5-9", 5, 10),
        ("bytes=1048575-9999999", 2**20 - 1, 2**20),
    ],
)
def test_the_rest_of_a_shard_is_fetched_alone(
    gateway: Gateway, wanted: str, first: int, end: int
) -> None:
    status, headers, content = gateway.get(0, wanted=wanted)
    assert (status, headers["Content-Range"]) == (206, f"bytes {first}-{end - 1}/{2**20}")
    assert content == SHARD[first:end]


def test_a_space_that_was_forgotten_is_closed(gateway: Gateway) -> None:
    gateway.put(0, 0, SHARD)
    Boxes(boxes_path(gateway.state)).forget("study.")
    Published(published_path(gateway.state)).forget("study.")
    assert gateway.put(0, 0, SHARD)[0] == 404
    assert gateway.call("HEAD", f"/blobs/{BOX}/0", gateway.token(BOX, "leave"))[0] == 404
    assert gateway.get(0)[0] == 404


def test_a_box_closed_while_a_shard_comes_takes_nothing(gateway: Gateway) -> None:
    with begun_put(gateway, 1, SHARD[:600_000]) as line:
        wait_for(lambda: gateway.offset(1) > 0)
        Boxes(boxes_path(gateway.state)).forget(BOX)
        line.send(SHARD[600_000:])
        assert status_of(line) == 409
    assert not list(boxes_path(gateway.state).iterdir())


def test_one_line_serves_one_request_after_another_also_after_a_refusal(gateway: Gateway) -> None:
    headers = {"Authorization": f"Bearer {gateway.token(BOX, 'leave')}"}
    with closing(gateway.connect()) as line:
        for number, first, status in (
            (0, 5, 409),
            (0, 0, 201),
            (0, 0, 201),
            (9, 0, 404),
            (1, 0, 201),
        ):
            headers["Content-Range"] = f"bytes {first}-{len(SHARD) - 1}/{len(SHARD)}"
            line.request("PUT", f"/blobs/{BOX}/{number}", SHARD[first:], headers)
            assert status_of(line) == status
