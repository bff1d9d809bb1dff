"""A whole federation over the ways that networks have: nginx before the coordinator, a proxy before a hospital."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from federation.certificates import issue_certificate, make_authority
from federation.processes import free_port
from model.tensors import num_values
from server.endpoint import Endpoint
from tests.faults import nginx
from tests.faults.federation_under_test import (
    OUTSIDE_NAME,
    digests_of_honest,
    federation,
    names_of,
    study_of,
)
from tests.faults.gateway_process import Gateway
from tests.faults.tiny_proxy import TinyProxy

pytestmark = [
    pytest.mark.federation,
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("FEDCXR_ALL_FAULTS"), reason="`make faults` runs it"),
    pytest.mark.skipif(nginx.PROGRAM is None, reason="nginx is not installed here"),
]
CARRIED = (
    *("POST /v1/fleet/activate-node", "POST /v1/fleet/send-node-heartbeat"),
    *("POST /v1/fleet/pull-messages", "POST /v1/fleet/push-messages"),
    *("GET /blobs/down", "PUT /blobs/up"),
)
"""What a round needs of nginx."""


def test_rounds_through_nginx_and_a_proxy_are_the_rounds_of_an_undisturbed_federation(
    tmp_path: Path,
) -> None:
    study = study_of("ways", num_sites=2, min_sites=2, num_rounds=2)
    direct, locked_in = names = names_of(study)
    proxy = TinyProxy(b"HTTP/1.1 200 Connection established\r\n\r\n")
    seen: list[Gateway] = []

    @contextmanager
    def front(endpoint: Endpoint) -> Iterator[int]:
        tls = tmp_path / "out" / "coordinator" / "tls"
        issue_certificate(tls, make_authority(tls), (OUTSIDE_NAME, "127.0.0.1", "localhost"))
        behind = Gateway(state=tls.parent, port=endpoint.port, log_path=tmp_path / "unused")
        with nginx.nginx_before(behind, tmp_path, free_port(), {}) as before:
            seen.append(before)
            yield before.port

    with federation(tmp_path / "out", study, front=front, proxies={locked_in: proxy}) as running:
        running.run().join(300)
        logs = running.log(direct) + running.log(locked_in)
    proxy.close()
    assert running.store.fact("finished"), running.stopped or logs
    parts = [(part.state, part.attempt) for part in running.store.parts()]
    assert parts == [("admitted", 1)] * 4
    tensors = running.store.load_state()
    assert tensors is not None
    size = 4 * num_values(tensors.weights.shapes)
    for part in running.store.parts():
        assert size <= part.bytes_down <= 2 * size, part
        assert part.bytes_up == size, part
    honest = digests_of_honest(study, running.layout, names, tmp_path / "alone")
    assert [record.digest for record in running.store.rounds()] == honest
    carried = (tmp_path / "access.log").read_text()
    assert [start for start in CARRIED if f'"{start}' not in carried] == []
    assert re.search(r'" 5\d\d ', carried) is None
    assert {head.split()[1] for head in proxy.asked} == {f"{OUTSIDE_NAME}:{seen[0].port}"}
