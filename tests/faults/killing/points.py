"""The points at which a program can be killed: for each module, how its functions come to tell that they are reached."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from tests.faults.killing.strikes import Kill, reached, strike, strike_at

Change = Callable[[ModuleType], None]
_due: list[Kill] = []
"""A kill that is to happen in the middle of what has begun."""


def before(module: ModuleType, name: str, point: str) -> None:
    """Reach the point whenever the function (or method, ``Class.name``) begins."""

    def wrap(real: Any) -> Any:  # noqa: ANN401
        def begin(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401
            strike_at(point)
            return real(*arguments, **named)

        return begin

    _wrap(module, name, wrap)


def after(module: ModuleType, name: str, point: str) -> None:
    """Reach the point whenever the function has ended."""

    def wrap(real: Any) -> Any:  # noqa: ANN401
        def end(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401
            outcome = real(*arguments, **named)
            strike_at(point)
            return outcome

        return end

    _wrap(module, name, wrap)


def _wrap(module: ModuleType, name: str, wrap: Callable[[Any], Any]) -> None:
    owner, _, attribute = name.rpartition(".")
    place = getattr(module, owner) if owner else module
    setattr(place, attribute, wrap(getattr(place, attribute)))


def _rounds(module: ModuleType) -> None:
    before(module, "run_round", "between-rounds")


def _asking(module: ModuleType) -> None:
    after(module, "_send", "asked")


def _store(module: ModuleType) -> None:
    before(module, "StudyStore.commit", "commit-begins")
    before(module, "StudyStore._forget_old_rounds", "row-written")


def _round_folders(module: ModuleType) -> None:
    _wrap(module, "sync_folder", _syncing)


def _syncing(real: Any) -> Any:  # noqa: ANN401
    """A commit brings a round's folder to the disk, renames it, and then brings that to the disk."""

    def sync(path: Path) -> None:
        strike_at("round-written" if path.suffix == ".part" else "round-renamed")
        real(path)

    return sync


def _hospitals(module: ModuleType) -> None:
    before(module, "Hospitals.forget", "round-forgotten")


def _next_round(module: ModuleType) -> None:
    before(module, "_NextWeights.move", "aggregated")


def _fetching(module: ModuleType) -> None:
    def wrap(real: Any) -> Any:  # noqa: ANN401
        async def read(*arguments: Any) -> AsyncIterator[bytes]:  # noqa: ANN401
            async for block in real(*arguments):
                kill = reached("served")
                if kill is not None:
                    yield block[: len(block) // 2]
                    strike(kill)
                yield block

        return read

    _wrap(module, "_read", wrap)


def _part(module: ModuleType) -> None:
    def wrap(real: Any) -> Any:  # noqa: ANN401
        def append(part: Any, chunks: Any) -> None:  # noqa: ANN401
            kill = reached("received") if part.length == 0 else None
            if kill is not None:
                real(part, [chunk[: len(chunk) // 2] for chunk in chunks[:1]])
                strike(kill)
            real(part, chunks)

        return append

    _wrap(module, "Part.append", wrap)
    before(module, "Part.settle", "received-whole")


def _answer(module: ModuleType) -> None:
    from tests.faults.killing.untrained import train

    vars(module)["train"] = partial(train, module)
    before(module, "let_leave", "finished")


def _client_app(module: ModuleType) -> None:
    after(module, "answer", "answering")
    after(module, "deliver", "delivered")


def _client_fetch(module: ModuleType) -> None:
    before_shard(module, "_fetch", "fetching")

    def wrap(real: Any) -> Any:  # noqa: ANN401
        def write(file: Any, content: bytes) -> None:  # noqa: ANN401
            if _due:
                real(file, content[: len(content) // 2])
                strike(_due.pop())
            real(file, content)

        return write

    _wrap(module, "write_all", wrap)


def _client_leave(module: ModuleType) -> None:
    before_shard(module, "_Leaving.leave", "delivering")

    def wrap(real: Any) -> Any:  # noqa: ANN401
        def body(leaving: Any, shard: Any, have: int) -> Iterator[memoryview]:  # noqa: ANN401
            for piece in real(leaving, shard, have):
                if _due:
                    yield piece[: len(piece) // 2]
                    strike(_due.pop())
                yield piece

        return body

    _wrap(module, "_Leaving._body", wrap)


def _files(module: ModuleType) -> None:
    """A small file: its draft exists, and has no content yet."""
    real = vars(module)["tempfile"]

    def mkstemp(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401
        drafted = real.mkstemp(*arguments, **named)
        strike_at("drafted")
        return drafted

    vars(module)["tempfile"] = SimpleNamespace(mkstemp=mkstemp)


def _arrays(module: ModuleType) -> None:
    """A large file: all of it is written, and it has no name yet."""

    def wrap(real: Any) -> Any:  # noqa: ANN401
        @contextmanager
        def replacing(path: Path) -> Iterator[Path]:
            with real(path) as partial_path:
                yield partial_path
                strike_at("half-written")

        return replacing

    _wrap(module, "replacing", wrap)


def before_shard(module: ModuleType, name: str, point: str) -> None:
    """Reach the point whenever a shard begins, and kill in its middle."""

    def wrap(real: Any) -> Any:  # noqa: ANN401
        def begin(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401
            kill = reached(point)
            if kill is not None:
                _due.append(kill)
            return real(*arguments, **named)

        return begin

    _wrap(module, name, wrap)


CHANGES: dict[str, Change] = {
    "federation.files": _files,
    "model.arrays": _arrays,
    "server.rounds": _rounds,
    "server.asking": _asking,
    "server.round_folders": _round_folders,
    "server.store": _store,
    "server.hospitals": _hospitals,
    "server.next_round": _next_round,
    "server.blobs.fetching": _fetching,
    "server.blobs.part": _part,
    "client.rounds": _answer,
    "client.app": _client_app,
    "client.transfer.fetch": _client_fetch,
    "client.transfer.leave": _client_leave,
}
