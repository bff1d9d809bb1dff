"""Plans over a real federation: nothing is sent to a hospital, or trained at it, before a person there typed so."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from client.config import load_site
from client.evidence.log import Event, entries
from client.kept import study_folder
from client.plans.store import kept_plans
from federation.config import study_digest
from server.plans.issuing import signed_plan
from tests.faults.federation_under_test import federation, study_of, wait_until

pytestmark = [
    pytest.mark.federation,
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("FEDCXR_ALL_FAULTS"), reason="`make faults` runs it"),
]

Command = Callable[..., tuple[int, str, str]]
EARLY, LATE = "site-01", "site-02"


def test_a_study_waits_for_approval_hospital_by_hospital_and_goes_on_by_itself(
    memory_path: Path, fedcxr: Command
) -> None:
    study = study_of("plans", num_sites=2, min_sites=2, num_rounds=1)
    with federation(memory_path, study, is_approved=False) as running:
        layout, store = running.layout, running.store
        thread = running.run()
        sites = {name: load_site(layout.profile(name)) for name in (EARLY, LATE)}

        def status() -> str:
            return fedcxr("coordinator", "status", "--state", layout.coordinator)[1]

        def plans() -> list[str]:
            return [kept.digest for site in sites.values() for kept in kept_plans(site.state_path)]

        wait_until(lambda: len(plans()) == len(sites), seconds=60)
        assert set(plans()) == {signed_plan(store).digest}
        wait_until(lambda: f"{EARLY}: waits for approval" in status(), seconds=30)
        for site in sites.values():
            assert not study_folder(site, study_digest(study)).exists()
        approve(fedcxr, layout.profile(EARLY), plans()[0])
        wait_until(lambda: running.part(1, EARLY).state == "admitted", seconds=60)
        wait_until(lambda: f"{LATE}: waits for approval" in status(), seconds=30)
        assert store.rounds() == []
        approve(fedcxr, layout.profile(LATE), plans()[0])
        wait_until(lambda: store.fact("finished"), seconds=90)
        thread.join(timeout=30)
    assert [record.num_sites for record in store.rounds()] == [2]
    for site in sites.values():
        events = [each.event for each in entries(site.state_path)]
        assert events.index(Event.PLAN_ARRIVED) < events.index(Event.PLAN_APPROVED)
        assert events.index(Event.PLAN_APPROVED) < events.index(Event.ROUND_ASKED)


def approve(fedcxr: Command, profile: Path, digest: str) -> None:
    """What a person types."""
    shown = json.loads(fedcxr("hospital", "review", profile, "--json")[1])
    assert (shown["digest"], shown["against"]) == (digest, [])
    words = ("hospital", "approve", digest, profile, "--name", "Dr Example")
    assert fedcxr(*words)[0] == 0
