"""This process's hold on its fork server: started when first needed, started anew when it is gone."""

import atexit
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass, field

from client.guard.process import FORK, NOBODY, REPLY, REQUEST

_PROGRAM = "from client.guard.process import main; main()"
_MAX_REPLY_SECONDS = 120.0
"""A server that takes longer to fork or to end a worker counts as gone; the first fork waits for imports."""
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Workers share the processors among themselves, and a process that forks must not run threads."""


class ServerGone(RuntimeError):
    """No server can be kept alive, or it cannot fork."""

    def __init__(self) -> None:
        super().__init__("the system starts no process that reads files")


@dataclass(kw_only=True, slots=True)
class ForkServer:
    """Forks processes that run `client.guard.process`; any thread may ask.

    A process of its own because this one may run threads of torch or of Flower, and forking those can
    hang; not one of `multiprocessing`, whose children run the main module of this process once more.
    """

    _process: subprocess.Popen[bytes] | None = None
    _control: socket.socket | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fork(self) -> tuple[int, socket.socket]:
        """Start a worker; gives its process number and this side of the channel to it.

        Raises:
            ServerGone: not even a new server could do it.
        """
        ours, theirs = socket.socketpair()
        with theirs, self._lock:
            for _ in range(2):
                process = self._ask(FORK, descriptor=theirs.fileno())
                if process != NOBODY:
                    return process, ours
                if self._process is not None:  # it is there and cannot fork
                    break
        ours.close()
        raise ServerGone

    def end(self, process: int) -> int:
        """Kill a worker, if it still lives; gives the signal that it died of, 0 if it ended by itself."""
        with self._lock:
            status = NOBODY if self._process is None else self._ask(process)
        # A worker whose server is gone was killed with it.
        return signal.SIGKILL if status == NOBODY else os.WTERMSIG(status)

    def close(self) -> None:
        """End the server and, with it, its workers."""
        with self._lock:
            self._discard()

    def forget(self) -> None:
        """Leave the server to the process that this one was forked from."""
        self._let_go()
        if self._process is not None:
            self._process.poll()  # sees that it is nobody's child here
        self._process = None
        self._lock = threading.Lock()

    def _ask(self, request: int, *, descriptor: int | None = None) -> int:
        """One question, one answer; NOBODY if the server is gone."""
        attached = [] if descriptor is None else [descriptor]
        answered = False
        try:
            control = self._control or self._start()
            socket.send_fds(control, [REQUEST.pack(request)], attached)
            reply = control.recv(REPLY.size)
            answered = len(reply) == REPLY.size
        except OSError:
            reply = b""
        finally:
            if (
                not answered
            ):  # also when interrupted: the next question must not get this one's answer
                self._discard()
        return int(REPLY.unpack(reply)[0]) if answered else NOBODY

    def _start(self) -> socket.socket:
        self._control, theirs = socket.socketpair()
        self._control.settimeout(_MAX_REPLY_SECONDS)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM, str(theirs.fileno())],
                # Libraries print what is in a damaged file, and where it lies.
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=os.environ | _ONE_THREAD,
                cwd="/",
                start_new_session=True,
            )
        return self._control

    def _let_go(self) -> None:
        if self._control is not None:
            self._control.close()
        self._control = None

    def _discard(self) -> None:
        self._let_go()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None


SERVER = ForkServer()
"""The one server of this process: a second one would only import the reader a second time."""
atexit.register(SERVER.close)
os.register_at_fork(after_in_child=SERVER.forget)
