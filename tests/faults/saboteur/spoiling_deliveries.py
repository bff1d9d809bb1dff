"""What a bad hospital leaves, or does not leave, where the coordinator waits for its shards."""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from spoiling import fault_of

from client.config import SiteConfig
from federation.messages import Ticket
from federation.parcel import Parcel, ReadShard

logger = logging.getLogger(__name__)

Leave = Callable[..., int]


def spoilt_leaving(honest: Leave, module: ModuleType) -> Leave:
    """Leave shards as a bad hospital does; the round is told by the request that is being answered."""
    current: list[int] = []
    deliver = vars(module)["deliver"]

    def spoilt_deliver(site: SiteConfig, request: Any) -> Any:  # noqa: ANN401
        current[:] = [request.round_number]
        return deliver(site, request)

    def leave(
        site: SiteConfig, ticket: Ticket, parcel: Parcel, read: ReadShard, shards: Sequence[int]
    ) -> int:
        fault = fault_of(current[0])
        if fault == "leaves-nothing":
            return 0
        if fault == "leaves-some":
            return honest(site, _first_of(ticket), parcel, read, shards[:1]) if 0 in shards else 0
        if fault == "hangs":
            time.sleep(3600)
        if fault == "flipped-beside":
            return honest(site, ticket, parcel, _flipping(read), shards)
        return honest(site, ticket, parcel, read, shards)

    vars(module)["deliver"] = spoilt_deliver
    return leave


def _first_of(ticket: Ticket) -> Ticket:
    return Ticket(links=ticket.links[:1], token=ticket.token, expires=ticket.expires)


def _flipping(read: ReadShard) -> ReadShard:
    """One bit of the first shard that is read is another one."""

    def spoilt(number: int, first: int, last: int) -> bytes:
        content = read(number, first, last)
        return bytes([content[0] ^ 1]) + content[1:] if first == 0 and content else content

    return spoilt


def said_twice(push: Callable[..., None]) -> Callable[..., None]:
    """Every answer is sent to the coordinator again, byte by byte, once it has it."""
    if not any(fault_of(number) == "twice" for number in range(1, 100)):
        return push

    def push_twice(*, state: Any, object_store: Any, send: Any, push_object: Any) -> None:  # noqa: ANN401
        sent: list[tuple[Any, ...]] = []

        def remembering(*arguments: Any) -> Any:  # noqa: ANN401
            sent.append(arguments)
            return send(*arguments)

        push(state=state, object_store=object_store, send=remembering, push_object=push_object)
        for arguments in sent:
            try:
                outcome = send(*arguments)
            except Exception as err:
                logger.exception("said twice, and refused")
                outcome = type(err).__name__
            Path("said-twice").open("a").write(f"{outcome}\n")  # noqa: SIM115

    return push_twice
