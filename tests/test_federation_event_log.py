"""The JSON lines that a side's processes log: complete, in step, and without anything of a patient."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from federation import event_log
from federation.event_log import ALLOWED, SharedFile, log_events, redacted
from federation.terminal import OWN_PACKAGES

logger = logging.getLogger("client.rounds")


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Path]:
    log_events(tmp_path, side="hospital", site="st-mary", study="abc123")
    logging.getLogger("client").setLevel(logging.INFO)
    yield tmp_path
    for name in OWN_PACKAGES:
        package = logging.getLogger(name)
        package.handlers = [each for each in package.handlers if not isinstance(each, SharedFile)]
    logging.getLogger("client").setLevel(logging.NOTSET)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def test_a_line_says_when_where_and_what_with_its_numbers(logs: Path) -> None:
    logger.info("round %d of %d finished, loss %.2f", 3, 10, 0.5)
    (line,) = lines(logs)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "info",
        "logger": "client.rounds",
        "event": "round 3 of 10 finished, loss 0.50",
        "side": "hospital",
        "site": "st-mary",
        "study": "abc123",
    }


def test_keys_that_are_not_on_the_list_are_left_out(logs: Path) -> None:
    logger.info("read", extra={"patient": "DOE^JANE", "round": 4})
    (line,) = lines(logs)
    assert line["round"] == 4
    assert set(line) <= set(ALLOWED)


@pytest.mark.parametrize(
    "secret",
    [
        "/archive/2019/DOE_JANE/CR0001.dcm",
        "../archive/jane.dcm",
        "chest-of-jane.dcm",
        "DOE^JANE",
        "1.2.840.113619.2.55.3",
        "19540321",
        "1954-03-21",
        "MRN0042317",
        "jane.doe@example.org",
        "-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----",
    ],
)
def test_a_value_that_could_tell_of_a_patient_is_replaced_by_its_kind(
    logs: Path, secret: str
) -> None:
    logger.warning("cannot use %s of %s", secret, "st-mary")
    text = (logs / "events.jsonl").read_text()
    assert json.dumps(secret)[1:-1] not in text
    assert "cannot use [" in lines(logs)[0]["event"]
    assert lines(logs)[0]["event"].endswith("] of st-mary")


def test_what_is_needed_on_call_is_kept() -> None:
    usual = "hospital-a: refused in round 12 (norm 1.25 above 1.0), plan 0badc0ffee12, port 8443, v0.1.0"
    assert redacted(usual) == usual


def test_of_an_exception_there_is_its_class_and_the_line_and_none_of_its_text(logs: Path) -> None:
    try:
        redacted(None)  # type: ignore[arg-type]  # what a defect looks like
    except TypeError:
        logger.exception("failed: %s", ValueError("DOE JANE"))
    assert "expected string" not in (logs / "events.jsonl").read_text()
    (line,) = lines(logs)
    assert line["event"] == "failed: ValueError"
    assert line["error"].startswith("TypeError in federation.event_log line ")


def test_a_long_file_is_put_aside_once(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "MAX_BYTES", 1000)
    for number in range(40):
        logger.info("round %d finished", number)
    assert sorted(path.name for path in logs.glob("*.jsonl*")) == [
        "events.jsonl",
        "events.jsonl.1",
    ]
    assert lines(logs)[-1]["event"] == "round 39 finished"


def test_two_processes_write_whole_lines_into_one_file(tmp_path: Path) -> None:
    program = (
        "import logging, sys; from pathlib import Path; from federation.event_log import log_events\n"
        "log_events(Path(sys.argv[1]), side=sys.argv[2])\n"
        "logging.getLogger('server').setLevel(logging.INFO)\n"
        "for n in range(100): logging.getLogger('server').info('line %d', n)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    writers = [subprocess.Popen([*command, side]) for side in ("one", "two")]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    for side in ("one", "two"):
        told = [line["event"] for line in lines(tmp_path) if line["side"] == side]
        assert told == [f"line {number}" for number in range(100)]
