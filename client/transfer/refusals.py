"""Why bytes were not moved after all: one class per thing that somebody can do about it."""

from client.node_status import SENTENCES, NodeStatus
from client.refused import NotTaken
from federation.messages import RefusalCode


class TransferRefused(NotTaken):
    """Bytes that could not be moved; what came so far is kept."""

    def __init__(self, reason: str, *, code: RefusalCode = RefusalCode.BLOCKED) -> None:
        super().__init__(code, reason)


class TicketExpired(TransferRefused):
    """The coordinator's leave ended before the last byte."""

    def __init__(self, trouble: str) -> None:
        super().__init__(
            f"the coordinator's leave ended before the last byte was moved ({trouble}). Nothing is "
            "lost: the coordinator asks again, and the hospital goes on where it stopped.",
            code=RefusalCode.TRANSFER,
        )


class ShutOut(TransferRefused):
    """The coordinator takes nothing from this hospital any more, and gives it nothing."""

    def __init__(self, status: NodeStatus) -> None:
        sentence = SENTENCES[status].removeprefix("waiting: ") + "."
        super().__init__(sentence, code=RefusalCode.TRANSFER)


class NotWanted(TransferRefused):
    """The coordinator does not know the shard, or not any more."""

    def __init__(self) -> None:
        super().__init__(
            "the coordinator does not expect or hold these bytes any more. Nothing needs to be "
            "done here: it asks again if it still wants them.",
            code=RefusalCode.TRANSFER,
        )


class WrongBytes(TransferRefused):
    """What comes is not what was announced, however often it is fetched."""

    def __init__(self, number: int, times: int) -> None:
        super().__init__(
            f"shard {number} came {times} times with other bytes than the coordinator announced. "
            "Its operator should check the coordinator's disk; if another hospital gets the shard "
            "whole, have this hospital's network people look for what changes the bytes on the way."
        )


class NotAccepted(TransferRefused):
    """The coordinator finds other bytes than announced, however often they are sent."""

    def __init__(self, number: int, times: int) -> None:
        super().__init__(
            f"shard {number} was sent {times} times and arrived with other bytes each time, though "
            "it is whole at the hospital. Have the hospital's network people look for what changes "
            "the bytes on the way, and the coordinator's operator check its disk."
        )


class TooLarge(TransferRefused):
    """The coordinator expects fewer bytes of the shard than there are."""

    def __init__(self, number: int) -> None:
        super().__init__(
            f"the coordinator expects fewer bytes of shard {number} than it was told of. Its operator "
            "should compare the versions of both programs and install the same release."
        )


class DamagedHere(TransferRefused):
    """The finished update changed on the hospital's disk."""

    def __init__(self, number: int) -> None:
        super().__init__(
            f"shard {number} of the finished update is damaged on this hospital's disk: the data "
            "manager should check that disk; the round's update cannot be sent."
        )


class NoRoomHere(TransferRefused):
    """The hospital's disk is full."""

    def __init__(self, num_bytes: int) -> None:
        super().__init__(
            f"the disk under this hospital's state_path has no room for {num_bytes / 1e6:.0f} MB of "
            "weights: the data manager should free some. What came so far is kept.",
            code=RefusalCode.DISK,
        )


class HostNotAllowed(TransferRefused):
    """The coordinator sends the hospital to a host that its profile does not name."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"the coordinator keeps the bytes at {host}, where this hospital's profile lets nothing "
            "go. If that is agreed between the two, the data manager adds the name to blob_hosts."
        )


class WrongTicket(TransferRefused):
    """A ticket that does not say where the bytes are."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"the coordinator's ticket cannot be used, it {problem}. Its operator should compare the "
            "versions of both programs and install the same release."
        )


class Untrusted(TransferRefused):
    """Whoever answers is not who it should be."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"the certificate that {host} shows is not one that this hospital trusts. If the "
            "coordinator has a new authority, the data manager replaces the file of ca_path; if the "
            "hospital's proxy looks into TLS, its administrators exempt that host."
        )


class ProxyUnusable(TransferRefused):
    """The environment names a proxy of a kind that cannot be used."""

    def __init__(self) -> None:
        super().__init__(
            "the proxy that HTTPS_PROXY names cannot be used: the data manager sets it to "
            "http://host:port, and has it let this machine CONNECT to the coordinator."
        )
