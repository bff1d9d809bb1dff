"""Asking for counts over Flower's grid: everybody who is there is heard, and nobody is waited for in vain."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid

from federation.messages import CountsAnswer, CountsRequest, Refusal, RefusalCode, SiteCounts
from federation.statistics import FILES, layout
from federation.wire.counts import pack_counts, unpack_counts_request
from server.census import ABSENT, SILENT, ask_for_counts
from server.mailbox import Mailbox

pytestmark = pytest.mark.usefixtures("inside_a_flower_task")

REQUEST = CountsRequest(findings=("edema",))
COUNTS = SiteCounts(
    num_patients=120,
    num_files=None,
    files=dict.fromkeys(FILES),
    table={name: dict.fromkeys(values, 20) for name, values in layout(("edema",)).items()},
    min_cell=10,
    epsilon=None,
)
WAIT = 600.0
Reply = Callable[[Message], Message | None]


@dataclass
class Scene:
    """Hospitals as functions, and time that passes only while somebody sleeps."""

    behaviour: dict[str, Reply]
    online: set[str]
    offset: float = 0.0
    sent: list[tuple[str, Message]] = field(default_factory=list)
    pulled: set[str] = field(default_factory=set)
    comes_back: dict[float, str] = field(default_factory=dict)

    def get_nodes(self) -> list[NodeInfo]:
        """Connected nodes."""
        names = enumerate(self.behaviour, start=1)
        return [
            NodeInfo(node_id=number, name=name) for number, name in names if name in self.online
        ]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Numbers of the messages."""
        for message in messages:
            self.sent.append((list(self.behaviour)[message.metadata.dst_node_id - 1], message))
            yield str(len(self.sent) - 1)

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """The reply to one message, if there is one."""
        (message_id,) = message_ids
        site, message = self.sent[int(message_id)]
        assert site in self.online, "Flower gives up the reply of an absent node"
        assert message_id not in self.pulled, "Flower has forgotten this message"
        reply = self.behaviour[site](message)
        self.pulled |= {message_id} if reply else set()
        return [reply] if reply else []

    def monotonic(self) -> float:
        """Seconds."""
        return time.monotonic() + self.offset

    def sleep(self, _: float) -> None:
        """Two seconds later."""
        self.offset += 2.0
        self.online |= {site for moment, site in self.comes_back.items() if moment <= self.offset}


@pytest.fixture
def census(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, CountsAnswer]]:
    """Asks the hospitals of a scene; all of them are expected."""

    def ask(scene: Scene, *more: str) -> dict[str, CountsAnswer]:
        clock = SimpleNamespace(monotonic=scene.monotonic, sleep=scene.sleep)
        monkeypatch.setattr("server.census.time", clock)
        monkeypatch.setattr("server.mailbox.time", clock)
        mail = Mailbox(grid=cast("Grid", scene), kind="query.counts")
        sites = frozenset({*scene.behaviour, *more})
        return ask_for_counts(mail, REQUEST, sites=sites, wait_seconds=WAIT)

    return ask


Census = Callable[..., dict[str, CountsAnswer]]


def counts(message: Message) -> Message:
    assert message.metadata.message_type == "query.counts"
    assert unpack_counts_request(message.content) == REQUEST
    return Message(pack_counts(COUNTS, REQUEST), reply_to=message)


def refuses(message: Message) -> Message:
    refusal = Refusal(code=RefusalCode.STATISTICS, reason="words")
    return Message(pack_counts(refusal, REQUEST), reply_to=message)


def dies(message: Message) -> Message:
    return Message(Error(code=ErrorCode.CLIENT_APP_CRASHED, reason="DOE^JANE"), reply_to=message)


def silent(_: Message) -> None:
    return None


def scene_of(**behaviour: Reply) -> Scene:
    return Scene(behaviour=behaviour, online=set(behaviour))


def no_answer(reason: str) -> Refusal:
    return Refusal(code=RefusalCode.NO_ANSWER, reason=reason)


def test_everybody_is_asked_once_and_heard(census: Census) -> None:
    scene = scene_of(a=counts, b=refuses)
    found = census(scene)
    assert found["a"] == COUNTS
    assert found["b"] == Refusal(code=RefusalCode.STATISTICS, reason="words")
    assert [site for site, _ in scene.sent] == ["a", "b"]
    assert scene.offset == 0.0


def test_a_hospital_that_is_not_connected_is_not_waited_for_long(census: Census) -> None:
    scene = scene_of(a=counts)
    assert census(scene, "b") == {"a": COUNTS, "b": no_answer(ABSENT)}
    assert 10.0 <= scene.offset <= 14.0


def test_a_hospital_that_comes_back_at_once_is_asked(census: Census) -> None:
    scene = scene_of(a=counts, b=counts)
    scene.online, scene.comes_back = {"a"}, {6.0: "b"}
    assert census(scene) == {"a": COUNTS, "b": COUNTS}


def test_a_busy_hospital_is_waited_for_until_time_is_up(census: Census) -> None:
    scene = scene_of(a=counts, b=silent)
    assert census(scene) == {"a": COUNTS, "b": no_answer(SILENT)}
    assert WAIT <= scene.offset <= WAIT + 4.0


def test_a_hospital_that_connects_unexpectedly_is_asked_too() -> None:
    scene = scene_of(a=counts, b=counts)
    mail = Mailbox(grid=cast("Grid", scene), kind="query.counts")
    found = ask_for_counts(mail, REQUEST, sites=frozenset({"a"}), wait_seconds=WAIT)
    assert found.keys() == {"a", "b"}


def test_a_hospital_whose_process_dies_is_asked_once_more_and_its_words_are_not_kept(
    census: Census,
) -> None:
    scene = scene_of(a=dies)
    answer = census(scene)["a"]
    assert isinstance(answer, Refusal)
    assert answer.code == RefusalCode.NO_ANSWER
    assert "DOE" not in answer.reason
    assert len(scene.sent) == 2


def test_a_hospital_whose_process_dies_late_is_asked_once_more_too(census: Census) -> None:
    scene = scene_of(a=silent)
    scene.behaviour["a"] = lambda message: None if scene.offset < 60.0 else dies(message)
    census(scene)
    assert len(scene.sent) == 2


def test_an_answer_that_cannot_be_read_is_a_refusal_in_words(census: Census) -> None:
    def invents(message: Message) -> Message:
        record = pack_counts(COUNTS, REQUEST)
        record.config_records["header"]["table"] = [10**12] * 5
        return Message(record, reply_to=message)

    def other_release(message: Message) -> Message:
        return Message(RecordDict({"header": ConfigRecord({"protocol": 999})}), reply_to=message)

    found = census(scene_of(a=invents, b=other_release))
    codes = {site: cast("Refusal", answer).code for site, answer in found.items()}
    assert codes == {"a": RefusalCode.UNREADABLE, "b": RefusalCode.PROTOCOL}
