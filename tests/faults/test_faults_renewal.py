"""Certificate and authority are renewed in the middle of a round, and the old ones end: the round goes on with the new."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from client.config import SiteConfig, load_site
from client.enrolment.certificate import read_certificate, signing_request
from client.evidence.log import entries
from federation.certificates import make_authority
from federation.config import StudyConfig, parse_study
from federation.enrolment import CERTIFICATE_LIFE, CERTIFICATE_NAME, public_pem_of
from federation.files import write_file
from federation.node_keys import make_node_key
from federation.processes import Supervisor, flower_environment
from server.enrolment.certifying import certify, read_request
from server.enrolment.opening import Opening
from server.enrolment.register import enter
from server.enrolment.steps import next_authority, open_coordinator
from server.store import StudyStore
from server.watch import run_to_end
from simulation.approvals import approve_everywhere
from simulation.federate import (
    start_coordinator,
    start_hospital,
    wait_for_hospitals,
    write_profile,
)
from simulation.layout import Layout
from tests.faults.federation_under_test import wait_until

pytestmark = [
    pytest.mark.federation,
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("FEDCXR_ALL_FAULTS"), reason="`make faults` runs it"),
]
NAME = "site-01"
STEPS = 3000
"""Of the round: a quarter of a minute at least."""
SECONDS_LEFT = 10.0
"""Of the certificate, when it is renewed."""


def study() -> StudyConfig:
    return parse_study(
        '{"name":"renewal","seed":5,"model":{"size":"tiny","image_size":16},'
        '"rounds":{"num_sites":1,"min_sites":1,"deadline_seconds":300,"retry_seconds":1},'
        '"transport":{"inline_bytes":1000,"shard_values":200000},'
        '"stages":[{"kind":"full","num_rounds":1,'
        f'"local":{{"local_steps":{STEPS},"batch_size":4,"learning_rate":0.001}}}}]}}'
    )


def enrolled(layout: Layout, life: timedelta) -> x509.Certificate:
    """Make the hospital a member with a certificate that lasts so long, and put it where its node looks."""
    state, site = layout.coordinator, load_site(layout.profile(NAME))
    key = make_node_key(site.state_path, NAME)
    request = read_request(signing_request(key.private_path, NAME))
    certificate = certify(make_authority(state / "tls"), request, NAME, life=life)
    enter(state, state / "roster", NAME, public_pem_of(request), certificate)
    path = site.state_path / CERTIFICATE_NAME
    write_file(path, certificate.public_bytes(Encoding.PEM))
    return certificate


def test_a_certificate_that_is_renewed_while_training_goes_on_costs_no_step_of_it(
    memory_path: Path, make_hospital: Callable[..., SiteConfig]
) -> None:
    layout = Layout(memory_path)
    make_hospital(layout.hospital(NAME), "state")
    with Supervisor() as supervisor:
        endpoint = start_coordinator(supervisor, layout)
        opening = Opening(host="127.0.0.1", port=endpoint.port, listen="127.0.0.1", image_size=16)
        write_profile(layout, NAME, image_size=16, port=endpoint.port, ca_path=endpoint.ca_path)
        enrolled(layout, CERTIFICATE_LIFE)
        open_coordinator(layout.coordinator, opening, move=False)
        store = StudyStore.create(layout.coordinator, study())
        approve_everywhere(store, layout, [NAME])
        start_hospital(supervisor, layout, NAME)
        wait_for_hospitals(supervisor, layout, [NAME])
        threading.Thread(
            target=lambda: run_to_end(layout.coordinator, study(), on_change=lambda _: None),
            daemon=True,
        ).start()
        state = load_site(layout.profile(NAME)).state_path

        def events() -> list[str]:
            return [str(entry.event) for entry in entries(state)]

        wait_until(lambda: "round-asked" in events(), seconds=60)
        ending = enrolled(layout, timedelta(seconds=SECONDS_LEFT))
        next_authority(layout.coordinator)
        renew(layout)
        end_old_authority(layout)
        wait_until(lambda: store.fact("finished"), seconds=240)
    happened = events()
    asked, renewed = happened.index("round-asked"), happened.index("renewed")
    assert asked < renewed < happened.index("change-made") < happened.index("change-left")
    assert (happened.count("change-made"), happened.count("node-started")) == (1, 1)
    left = next(entry for entry in entries(state) if entry.event == "change-left")
    assert left.seconds > ending.not_valid_after_utc.timestamp()
    shown = read_certificate(state / CERTIFICATE_NAME)
    assert shown is not None
    assert shown.not_valid_after_utc > datetime.now(UTC) + timedelta(days=170)
    assert [record.num_sites for record in store.rounds()] == [1]


def end_old_authority(layout: Layout) -> None:
    """As on the day when it ends: what it signed counts no longer, the first certificate of the node among it."""
    path = layout.coordinator / "tls" / "ca.crt"
    present, *_ = x509.load_pem_x509_certificates(path.read_bytes())
    write_file(path, present.public_bytes(Encoding.PEM), mode=0o644)


def renew(layout: Layout) -> None:
    """Type it; `up` does the same by itself when less than a month is left."""
    begun = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "cli", "hospital", "renew", layout.profile(NAME)],
        check=True,
        timeout=60,
        env=flower_environment(layout.out / "home"),
    )
    assert time.monotonic() - begun < SECONDS_LEFT
