"""pynetdicom's server, narrowed to known machines: it hangs up on others before it reads a byte of theirs."""

import ipaddress
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socketserver import BaseServer

from pynetdicom import AE
from pynetdicom.events import EventHandlerType
from pynetdicom.transport import ThreadedAssociationServer

STALL_SECONDS = 60.0
"""A sender that is silent for so long is hung up on."""
FAREWELL_SECONDS = 5.0
"""What a sender gets to finish in when the service is stopped."""
_POLL_SECONDS = 0.1


class AddressUnknown(ValueError):
    """The name of a machine leads nowhere."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"The host {host} under `receiver` cannot be found on this network. The data manager corrects it "
            "in the hospital's profile, or gives the number of its address instead of a name."
        )


class CannotListen(RuntimeError):
    """The port or address is not to be had."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(
            f"The receiver cannot listen on {host}:{port} ({reason}). The data manager stops what listens "
            "there, or chooses another host or port in the hospital's profile."
        )


def addresses_of(host: str) -> frozenset[str]:
    """Every address that a machine is known by on this network.

    Raises:
        AddressUnknown: it has none.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise AddressUnknown(host) from None
    return frozenset(plain_address(str(place[0])) for *_, place in found)


def plain_address(text: str) -> str:
    """An address in its one usual form; IPv4 is IPv4 also when it comes over an IPv6 socket."""
    address = ipaddress.ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


@contextmanager
def listening(
    entity: AE,
    host: str,
    port: int,
    *,
    known: frozenset[str],
    on_stranger: Callable[[str], None],
    handlers: list[EventHandlerType],
) -> Iterator[None]:
    """Serve associations in threads of their own; on leaving, let those that run finish, for a while.

    Args:
        entity: what is offered to whom.
        host: address to listen on.
        port: the port there.
        known: addresses that may connect.
        on_stranger: called with any other address that connects.
        handlers: pynetdicom's events and what to do about them.

    Raises:
        CannotListen: the port or address is not to be had.
    """
    try:
        server = _Listener(
            entity,
            (host, port),
            entity.ae_title,
            entity.supported_contexts,
            evt_handlers=handlers,
        )
    except (OSError, ValueError) as err:
        reason = (err.strerror if isinstance(err, OSError) else None) or "no such address"
        raise CannotListen(host, port, reason) from None
    server.known, server.on_stranger = known, on_stranger
    thread = threading.Thread(target=server.serve_forever, args=(_POLL_SECONDS,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        BaseServer.shutdown(server)
        server.server_close()
        thread.join()
        _say_farewell(server)


def _say_farewell(server: ThreadedAssociationServer) -> None:
    associations = server.active_associations
    for association in associations:
        association.join(FAREWELL_SECONDS / len(associations))
    for association in server.active_associations:
        association.abort()


class _Listener(ThreadedAssociationServer):
    """Accepts connections from known addresses only, and none that falls silent half-way."""

    known: frozenset[str]
    on_stranger: Callable[[str], None]

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        connection, address = super().get_request()
        connection.settimeout(STALL_SECONDS)
        return connection, address

    def verify_request(self, request: object, client_address: object) -> bool:  # noqa: ARG002
        address = plain_address(str(client_address[0])) if isinstance(client_address, tuple) else ""
        if address in self.known:
            return True
        self.on_stranger(address)
        return False
