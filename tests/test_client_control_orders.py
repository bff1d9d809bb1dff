"""What a hospital's people order holds until they lift it, and quiet hours follow the clock on the wall."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from client.config import load_site
from client.control.gate import Gate, gate_of_line
from client.control.orders import (
    EVERY_STUDY,
    Orders,
    change_orders,
    control_folder,
    order,
    read_orders,
)
from client.control.quiet_hours import are_quiet, parse_quiet_hours
from client.refused import NotTaken
from federation.messages import RefusalCode
from federation.strict_yaml import ConfigError, dump_yaml

STUDY, OTHER = "a" * 64, "b" * 64


def ordered(state: Path, change: Callable[[Orders], Orders]) -> Gate:
    change_orders(state, change)
    return Gate(state_path=state)


def _instead(given: Orders, _: Orders) -> Orders:
    return given


def code(gate: Gate, study: str = STUDY) -> RefusalCode | None:
    closed = gate.closed(study)
    return None if closed is None else closed.code


def test_a_hospital_whose_people_never_ordered_anything_takes_part(tmp_path: Path) -> None:
    assert code(Gate(state_path=tmp_path / "nowhere")) is None


def test_a_pause_and_a_stop_close_the_gate_for_every_study_until_they_are_lifted(
    tmp_path: Path,
) -> None:
    for given in (Orders(paused=order("ann")), Orders(stopped=order("ann"))):
        gate = ordered(tmp_path, partial(_instead, given))
        assert code(gate) is RefusalCode.PAUSED
        assert code(ordered(tmp_path, lambda _: Orders())) is None


def test_leaving_a_study_closes_the_gate_for_it_alone_and_leaving_all_for_any(
    tmp_path: Path,
) -> None:
    gate = ordered(tmp_path, lambda before: replace(before, withdrawn={STUDY: order("ann")}))
    assert (code(gate), code(gate, OTHER)) == (RefusalCode.WITHDRAWN, None)
    gate = ordered(tmp_path, lambda before: replace(before, withdrawn={EVERY_STUDY: order("ann")}))
    assert (code(gate, OTHER), code(gate, "")) == (RefusalCode.WITHDRAWN, RefusalCode.WITHDRAWN)


def test_orders_are_read_as_they_were_given(tmp_path: Path) -> None:
    given = Orders(
        paused=order("Dr Ann"), stopped=order("IT"), withdrawn={STUDY: order("x")}, num_cuts=3
    )
    change_orders(tmp_path, lambda _: given)
    assert read_orders(tmp_path) == given


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"paused": 1}', b"\xff", b'{"withdrawn": {}, "num_cuts": {}}']
)
def test_orders_that_cannot_be_read_close_the_gate_until_somebody_orders_anew(
    tmp_path: Path, content: bytes
) -> None:
    path = control_folder(tmp_path) / "orders.json"
    path.parent.mkdir()
    path.write_bytes(content)
    assert code(Gate(state_path=tmp_path)) is RefusalCode.PAUSED
    assert code(ordered(tmp_path, lambda before: replace(before, paused=None))) is None


def test_the_coordinator_hears_no_name_and_no_time(tmp_path: Path) -> None:
    gate = ordered(tmp_path, lambda before: replace(before, paused=order("Dr Ann")))
    with pytest.raises(NotTaken) as refused:
        gate.require_open(STUDY)
    assert refused.value.refusal.reason == "the hospital's people have paused it"


MINUTE = {"mon 06:59": False, "mon 07:00": True, "fri 18:59": True, "fri 19:00": False}
NIGHT = {"sat 23:59": True, "sun 00:00": True, "sun 05:59": True, "sun 06:00": False}


@pytest.mark.parametrize(
    ("hours", "moment", "quiet"),
    [("mon-fri 07:00-19:00", moment, quiet) for moment, quiet in MINUTE.items()]
    + [("mon-fri 07:00-19:00", "sat 12:00", False)]
    + [("sat 22:00-06:00", moment, quiet) for moment, quiet in NIGHT.items()]
    + [("sat 22:00-06:00", "sat 05:00", False), ("sat 22:00-06:00", "mon 01:00", False)]
    + [("sun 00:00-24:00", "sun 23:59", True), ("fri-mon 10:00-11:00", "sun 10:30", True)]
    + [("fri-mon 10:00-11:00", "tue 10:30", False)],
)
def test_quiet_hours_cover_what_they_say(hours: str, moment: str, *, quiet: bool) -> None:
    known_monday = time.mktime((2026, 11, 23, 0, 0, 0, 0, 0, -1))
    days, minutes = moment.split()
    day = ("mon", "tue", "wed", "thu", "fri", "sat", "sun").index(days)
    hour, minute = map(int, minutes.split(":"))
    seconds = known_monday + 86400 * day + 3600 * hour + 60 * minute
    assert are_quiet([parse_quiet_hours(hours)], seconds) is quiet


@pytest.mark.parametrize(
    "words", ["", "mon", "mon 7:00-19:00", "mon 07:00-07:00", "mon 07:60-08:00", "mon 07:00-24:01"]
)
def test_hours_in_other_words_are_refused_with_how_to_write_them(words: str) -> None:
    with pytest.raises(ValueError, match="mon-fri 07:00-19:00"):
        parse_quiet_hours(words)


def test_a_profile_with_impossible_limits_is_refused_by_name(tmp_path: Path) -> None:
    profile = {
        "site_name": "a",
        "coordinator": "localhost:1",
        "ca_path": "ca.crt",
        "data_path": "data",
        "state_path": "state",
        "image_size": 32,
    }
    path = tmp_path / "site.yaml"
    hours, gpus = ["mon-sun 00:00-24:00"], [0, 1]
    path.write_text(dump_yaml({**profile, "limits": {"quiet_hours": hours, "gpus": gpus}}))
    site = load_site(path)
    assert gate_of_line(site).closed() is not None
    assert site.limits.gpus == (0, 1)
    for limits in ({"gpu_memory": 0}, {"niceness": 20}, {"quiet_hours": ["today"]}):
        path.write_text(dump_yaml({**profile, "limits": limits}))
        with pytest.raises(ConfigError, match="limits"):
            load_site(path)
