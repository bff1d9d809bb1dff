"""Certificate and authority are renewed in the middle of a round, and the old ones end: the round goes on with the new."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from client.config import SiteConfig, load_site
from client.enrolment.certificate import read_certificate, signing_request
from client.evidence.log import entries
from federation.certificates import make_authority
from federation.enrolment import CERTIFICATE_LIFE, CERTIFICATE_NAME, public_pem_of
from federation.files import write_file
from federation.node_keys import make_node_key
from server.enrolment.certifying import certify, read_request
from server.enrolment.opening import Opening
from server.enrolment.register import enter
from server.enrolment.steps import next_authority, open_coordinator
from simulation.layout import Layout
from tests.faults.federation_under_test import wait_until
from tests.faults.one_hospital import (
    IMAGE_SIZE,
    IN_MAKE_FAULTS,
    NAME,
    study_of_one,
    typed,
    under_way,
)

pytestmark = IN_MAKE_FAULTS
STEPS = 3000
"""Of the round: a quarter of a minute at least."""
SECONDS_LEFT = 10.0
"""Of the certificate, when it is renewed."""


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


def with_members(layout: Layout, port: int) -> None:
    """The coordinator knows certificates, and the hospital's is the first."""
    opening = Opening(host="127.0.0.1", port=port, listen="127.0.0.1", image_size=IMAGE_SIZE)
    enrolled(layout, CERTIFICATE_LIFE)
    open_coordinator(layout.coordinator, opening, move=False)


def test_a_certificate_that_is_renewed_while_training_goes_on_costs_no_step_of_it(
    memory_path: Path, make_hospital: Callable[..., SiteConfig]
) -> None:
    layout = Layout(memory_path)
    study = study_of_one("renewal", num_rounds=1, num_steps=STEPS)
    with under_way(
        study, layout, make_hospital, prepare=lambda port: with_members(layout, port)
    ) as store:
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
    typed(layout, "renew")
    assert time.monotonic() - begun < SECONDS_LEFT
