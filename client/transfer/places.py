"""Where a ticket's links lead: paths at the coordinator, or a bucket at a host that the hospital's profile names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from client.config import SiteConfig
from client.transfer.refusals import HostNotAllowed, WrongTicket
from federation.messages import Ticket

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1"})
_VISIBLE = re.compile(r"[!-~]*")
"""What may stand in a link or a token: nothing that could begin another header."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where one shard is fetched or left."""

    host: str
    port: int
    target: str
    """Path and query."""
    token: str = ""
    """Opens the coordinator's own paths; a bucket's links are signed and see no token."""
    is_bucket: bool
    is_plain: bool = False
    """Without TLS: on this machine alone."""


def places_of(site: SiteConfig, ticket: Ticket, shards: Sequence[int]) -> dict[int, Place]:
    """The place of each of these shards.

    Raises:
        HostNotAllowed: if a link leads to a host that the profile does not name.
        WrongTicket: if links are missing or are none.
    """
    if len(ticket.links) != len(shards):
        raise WrongTicket(f"has {len(ticket.links)} links for {len(shards)} shards")
    if not all(_VISIBLE.fullmatch(text) for text in (*ticket.links, ticket.token)):
        raise WrongTicket("holds something else than links")
    return {
        number: _place(site, ticket, link)
        for number, link in zip(shards, ticket.links, strict=True)
    }


def _place(site: SiteConfig, ticket: Ticket, link: str) -> Place:
    return own_place(site, link, ticket.token) if link.startswith("/") else _bucket(site, link)


def own_place(site: SiteConfig, link: str, token: str) -> Place:
    """A path at the coordinator."""
    host, _, port = site.coordinator.rpartition(":")
    return Place(host=host, port=int(port), target=link, token=token, is_bucket=False)


def _bucket(site: SiteConfig, link: str) -> Place:
    try:
        url = urlsplit(link)
        host, port = url.hostname or "", url.port
    except ValueError as err:
        raise WrongTicket("holds something else than links") from err
    is_plain = url.scheme == "http"
    if host not in site.blob_hosts:
        raise HostNotAllowed(host)
    if url.scheme != "https" and not (is_plain and host in LOOPBACK_HOSTS):
        raise WrongTicket("leads to a bucket without TLS")
    return Place(
        host=host,
        port=port or (80 if is_plain else 443),
        target=_target(url),
        is_bucket=True,
        is_plain=is_plain,
    )


def _target(url: SplitResult) -> str:
    return (url.path or "/") + (f"?{url.query}" if url.query else "")
