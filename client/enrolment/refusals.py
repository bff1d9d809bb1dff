"""Why a hospital could not join, or not renew its certificate: each reason with its sentence."""

from pathlib import Path

from client.node_status import SENTENCES, NodeStatus
from federation.enrolment import NotEnrolled

NEW_CODE = "ask the coordinator for a new code (`fedcxr coordinator invite`)"
REASONS = {
    NotEnrolled.CODE_UNKNOWN: f"it does not know the code, or has given out a newer one: {NEW_CODE}",
    NotEnrolled.CODE_USED: (
        "the code was used by another machine: if that was not this hospital's, tell the coordinator to revoke it at once; "
        f"then {NEW_CODE}"
    ),
    NotEnrolled.CODE_EXPIRED: f"the code is older than 72 hours: {NEW_CODE}",
    NotEnrolled.KEY_REVOKED: (
        "it has taken the key of this folder back for good: remove node.key from the state folder, and type the same again; "
        "the code still counts"
    ),
    NotEnrolled.KEY_TAKEN: (
        "the key of this folder belongs to another hospital of its roster: join in an empty folder; the code still counts"
    ),
    NotEnrolled.UNREADABLE: (
        "it cannot read what this release sends: install the release that the coordinator runs"
    ),
    NotEnrolled.VERSION: "its release is older than this one: it has to install this one, or this hospital its",
    NotEnrolled.NOT_OPEN: "it is not open for hospitals: it has to type `fedcxr coordinator init`",
}


class CannotReach(RuntimeError):
    """The coordinator does not answer."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(
            f"the coordinator at {address} does not answer ({reason}): ask it whether `fedcxr coordinator up` runs, and this "
            "hospital's network administrators whether this machine may connect to that port; through a proxy, set HTTPS_PROXY."
        )


class NotTheCoordinator(RuntimeError):
    """The authority at the coordinator's address is not the one that the code names."""

    def __init__(self, address: str, found: str, expected: str) -> None:
        super().__init__(
            f"what answers at {address} is not the coordinator that gave out the code: its fingerprint is {found}, the code's "
            f"is {expected}. Nothing was sent. Compare by telephone which one is the coordinator's; if it is the code's, this "
            "hospital's network administrators have to look who is in between."
        )


class Untrusted(RuntimeError):
    """The coordinator's certificate does not count."""

    def __init__(self, status: NodeStatus) -> None:
        super().__init__(SENTENCES[status].removeprefix("waiting: ") + ".")


class NotAdmitted(RuntimeError):
    """The coordinator says no."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the coordinator did not admit this hospital: {reason}.")


class AnswerUnusable(RuntimeError):
    """The coordinator's answer is not what was asked for."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"the coordinator's answer {what}: nothing was changed here. Install the release that the coordinator runs, and "
            "compare this machine's clock with UTC."
        )


class OtherHospital(ValueError):
    """The folder is somebody else's."""

    def __init__(self, profile: Path, key: str, found: str, invited: str) -> None:
        super().__init__(
            f"{profile} says {key}: {found}, but the code is for {invited}: join in another --folder, or correct the profile."
        )


class NewerKit(ValueError):
    """The folder was written by a release that this one does not know."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} was written by a newer release: install that one again, or join in another --folder."
        )


class NoRadiographs(ValueError):
    """Nobody said where the radiographs are."""

    def __init__(self) -> None:
        super().__init__(
            "the profile has to say where the radiographs are: type the same with `--data FOLDER`, the folder with the "
            "hospital's DICOM files; it is only read."
        )


class NeverJoined(ValueError):
    """There is nothing to renew."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"there is no certificate at {path}: this hospital joins with a code (`fedcxr hospital join CODE`), or takes part "
            "without a certificate."
        )
