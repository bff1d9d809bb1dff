"""A node that asks for work waits at the gateway until there is some; it is told so at once, and never lied to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from federation.bells import ANSWERS, QUESTIONS, Bells, bells_of
from server.gateway.app import gateway_app
from server.gateway.counters import Counters
from server.gateway.journal import Journal
from server.gateway.limits import GatewayLimits
from server.gateway.strikes import Strikes
from tests.faults.gateway_app import Everyone, request

ASK, BRING = "/v1/fleet/pull-messages", "/v1/fleet/push-object"
SITE = Everyone().member({"flwr-public-key": ""})
BRIEFLY = 0.2
FOR_EVER = 3600.0
SOON = 30.0


class SuperLink:
    """Has what it is given."""

    def __init__(self) -> None:
        self.content = b""
        self.num_asked = 0

    def __call__(self, _: httpx.Request) -> httpx.Response:
        """Answer a call."""
        self.num_asked += 1
        return httpx.Response(200, content=self.content)


@pytest.fixture
def superlink() -> SuperLink:
    return SuperLink()


@pytest.fixture
def bells(tmp_path: Path) -> Bells:
    return bells_of(tmp_path)


@asynccontextmanager
async def calling(
    superlink: SuperLink, bells: Bells, *, hold_seconds: float = FOR_EVER
) -> AsyncIterator[httpx.AsyncClient]:
    """Whoever calls a gateway in front of a made-up SuperLink."""
    limits = GatewayLimits(hold_seconds=hold_seconds)
    upstream = httpx.MockTransport(superlink)
    app = gateway_app(
        httpx.AsyncClient(base_url="https://superlink", transport=upstream),
        limits=limits,
        journal=Journal(Counters(bells.folder.parent)),
        strikes=Strikes(limits),
        members=Everyone(),
        bells=bells,
        routes=[],
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app)) as caller:
        yield caller


async def is_held(asking: "asyncio.Task[httpx.Response]") -> bool:
    done, _ = await asyncio.wait([asking], timeout=BRIEFLY)
    return not done


def test_a_node_waits_until_the_bell_rings_and_then_asks_anew(
    superlink: SuperLink, bells: Bells
) -> None:
    async def scene() -> tuple[bytes, bytes]:
        async with calling(superlink, bells) as caller:
            asking = asyncio.create_task(caller.send(request("POST", ASK)))
            assert await is_held(asking)
            superlink.content = b"work"
            bells.ring(QUESTIONS + SITE)
            first = await asyncio.wait_for(asking, SOON)
            return first.content, (await caller.send(request("POST", ASK))).content

    assert asyncio.run(scene()) == (b"", b"work")
    assert superlink.num_asked == 2


def test_a_bell_that_rings_while_the_superlink_is_asked_is_heard(
    superlink: SuperLink, bells: Bells
) -> None:
    def rings_meanwhile(call: httpx.Request) -> httpx.Response:
        answer = SuperLink.__call__(superlink, call)
        bells.ring(QUESTIONS + SITE)
        return answer

    async def scene() -> None:
        async with calling(rings_meanwhile, bells) as caller:  # type: ignore[arg-type]
            await asyncio.wait_for(caller.send(request("POST", ASK)), SOON)

    bells.ring(QUESTIONS + SITE)
    asyncio.run(scene())
    assert superlink.num_asked == 1


def test_nobody_waits_longer_than_the_operator_says(superlink: SuperLink, bells: Bells) -> None:
    async def scene() -> None:
        async with calling(superlink, bells, hold_seconds=BRIEFLY) as caller:
            answer = await asyncio.wait_for(caller.send(request("POST", ASK)), SOON)
            assert (answer.status_code, answer.content) == (200, b"")

    asyncio.run(scene())


def test_work_that_is_there_and_every_other_call_are_passed_at_once(
    superlink: SuperLink, bells: Bells
) -> None:
    async def scene() -> None:
        async with calling(superlink, bells) as caller:
            for path in (BRING, "/v1/fleet/send-node-heartbeat"):
                await asyncio.wait_for(caller.send(request("POST", path)), SOON)
            superlink.content = b"work"
            await asyncio.wait_for(caller.send(request("POST", ASK)), SOON)

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("paths", "rings"),
    [
        ([BRING], False),
        ([ASK], False),
        ([BRING, ASK], True),
        (["/v1/fleet/push-object", ASK], True),
        (["/v1/fleet/pull-object", ASK], False),
    ],
)
def test_a_bell_rings_for_an_answer_once_its_node_has_brought_all_of_it_and_asks_for_more(
    superlink: SuperLink, bells: Bells, paths: list[str], *, rings: bool
) -> None:
    superlink.content = b"thanks"

    async def scene() -> None:
        async with calling(superlink, bells) as caller:
            for path in paths:
                await caller.send(request("POST", path))

    asyncio.run(scene())
    assert bool(bells.rung(ANSWERS + SITE)) == rings


def test_an_answer_rings_once(superlink: SuperLink, bells: Bells) -> None:
    superlink.content = b"thanks"

    async def scene() -> int:
        async with calling(superlink, bells) as caller:
            for path in (BRING, ASK):
                await caller.send(request("POST", path))
            stood = bells.rung(ANSWERS + SITE)
            await caller.send(request("POST", ASK))
            return stood

    assert asyncio.run(scene()) == bells.rung(ANSWERS + SITE) != 0


def test_a_bell_stands_otherwise_after_every_ring(bells: Bells) -> None:
    assert bells.rung(QUESTIONS + SITE) == 0
    seen = set[int]()
    for _ in range(20):
        bells.ring(QUESTIONS + SITE)
        seen.add(bells.rung(QUESTIONS + SITE))
    assert len(seen) == 20


def test_a_disk_that_takes_no_bell_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "bells").write_bytes(b"no folder")
    bells_of(tmp_path).ring(QUESTIONS + SITE)
    assert bells_of(tmp_path).rung(QUESTIONS + SITE) == 0
