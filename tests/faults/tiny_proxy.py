"""An HTTP proxy that answers CONNECT in one way, for whoever has to get out of a hospital's network."""

import contextlib
import socket
import threading


class TinyProxy:
    """Answers CONNECT, and joins the caller to where it wants to go."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.asked: list[str] = []
        """Heads of the requests."""
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Stop."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._join, args=[near], daemon=True).start()

    def _join(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError):
            self._connect(near)

    def _connect(self, near: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            piece = near.recv(1024)
            if not piece:
                return
            head += piece
        self.asked.append(head.decode())
        near.sendall(self._answer)
        if b" 200 " not in self._answer:
            return
        port = int(head.split(b" ")[1].rpartition(b":")[2])
        with socket.create_connection(("127.0.0.1", port)) as far:
            back = threading.Thread(target=copy, args=[far, near])
            back.start()
            copy(near, far)
            back.join()


def copy(source: socket.socket, sink: socket.socket) -> None:
    """Forward until the end."""
    with contextlib.suppress(OSError):
        while content := source.recv(2**16):
            sink.sendall(content)
        sink.shutdown(socket.SHUT_WR)
