"""A box at the coordinator is opened: it is told which shards will come, and gives the ticket for them."""

import json

from client.config import SiteConfig
from client.transfer.line import Line, LineBroken
from client.transfer.places import own_place
from client.transfer.refusals import TooLarge
from federation.messages import BoxTicket, Ticket
from federation.own_boxes import own_box
from federation.parcel import Parcel


def open_box(site: SiteConfig, box: BoxTicket, parcel: Parcel) -> Ticket:
    """Announce a parcel's shards, once.

    Args:
        site: who leaves them.
        box: the coordinator's leave.
        parcel: sizes and digests of all shards.

    Returns:
        Leave for all of them.

    Raises:
        LineBroken: if the line, or the other side, did not do its part.
        TransferRefused: if waiting does not help; the kinds are in `refusals`.
    """
    announced = {"sizes": parcel.sizes, "digests": parcel.digests}
    body = memoryview(json.dumps(announced).encode())
    link = own_box(box.link, parcel.digest)
    with Line(site) as line:
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        answer = line.ask("PUT", own_place(site, link, box.token), headers, [body])
    if answer.status == 413:
        raise TooLarge(0)
    if answer.status != 201:
        raise LineBroken(f"answer {answer.status}")
    links = tuple(f"{link}/{number}" for number in range(len(parcel.sizes)))
    return Ticket(links=links, token=box.token, expires=box.expires)
