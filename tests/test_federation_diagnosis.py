"""Checks side by side: slow and broken ones are findings like any other, and everything is told."""

import json
import threading
import time

from federation.diagnosis import (
    Check,
    Finding,
    Job,
    Verdict,
    diagnosis_facts,
    diagnosis_text,
    examine,
    fail,
    has_failed,
    ok,
    shared,
)
from federation.strict_yaml import ConfigError


def check(name: str, finding: Finding) -> Check[None]:
    return Check(name=name, look=lambda _: finding)


def test_checks_run_side_by_side_and_are_told_in_their_order() -> None:
    both = threading.Barrier(2, timeout=5)

    def meet(_: None) -> Finding:
        both.wait()
        return ok("met")

    examined = examine(None, [Check(name="b", look=meet), Check(name="a", look=meet)])
    assert [each.name for each in examined] == ["b", "a"]
    assert not has_failed(examined)


def test_a_check_that_hangs_is_a_failure_after_its_time_and_holds_up_nobody() -> None:
    never, started = threading.Event(), time.monotonic()
    checks = [
        Check(name="hangs", look=lambda _: ok(str(never.wait())), seconds=0.05),
        check("well", ok("fine")),
    ]
    hanging, well = examine(None, checks)
    assert time.monotonic() - started < 2
    assert (hanging.finding.verdict, well.finding.verdict) == (Verdict.FAIL, Verdict.OK)
    assert "no answer within" in hanging.finding.sentence
    never.set()


def test_a_check_that_breaks_tells_nothing_of_a_strangers_words() -> None:
    def stumble(_: None) -> Finding:
        raise KeyError("DOE^JOHN")

    def refuse(_: None) -> Finding:
        raise ConfigError("site.yaml cannot be used: mend it")

    stumbled, refused = examine(None, [Check(name="a", look=stumble), Check(name="b", look=refuse)])
    assert "KeyError" in stumbled.finding.sentence
    assert "DOE" not in diagnosis_text([stumbled], seconds=0.1)
    assert refused.finding.sentence == "site.yaml cannot be used: mend it"


def test_what_is_not_well_says_whose_job_it_is_and_what_to_type() -> None:
    examined = examine(
        None, [check("fine", ok("good")), check("disk", fail("full", Job.MACHINE, "type: df -h"))]
    )
    lines = diagnosis_text(examined, seconds=1.25).splitlines()
    assert lines[0].split() == ["ok", "fine", "good"]
    assert lines[1].split() == ["FAIL", "disk", "full"]
    assert lines[2].strip() == "-> whoever keeps this machine: type: df -h"
    assert lines[3] == "2 checks in 1.2 s: 1 ok, 0 warn, 1 fail, 0 skipped"
    facts = json.loads(json.dumps(diagnosis_facts(examined, seconds=1.25)))
    assert facts["ok"] is False
    assert facts["counts"] == {"ok": 1, "warn": 0, "fail": 1, "skipped": 0}
    assert facts["checks"][1]["next_step"] == "type: df -h"


def test_what_checks_share_is_made_once() -> None:
    made = list[int]()

    def make() -> int:
        time.sleep(0)
        made.append(1)
        return 7

    get = shared(make)
    threads = [threading.Thread(target=get) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (made, get()) == ([1], 7)
