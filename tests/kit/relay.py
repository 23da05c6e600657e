"""A TCP relay in front of a server: counts what goes through, and can make the way longer."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

_CHUNK = 1 << 16


@dataclass
class Counts:
    """Bytes towards the server and back, TCP payload of all connections together."""

    up: int = 0
    down: int = 0
    connections: int = 0
    # How often data went up after some had come down: the round trips of a conversation that waits for answers.
    turns: int = 0
    _answered: bool = True

    def pass_up(self, size: int) -> None:
        """Count data towards the server."""
        self.up += size
        self.turns += self._answered
        self._answered = False

    def pass_down(self, size: int) -> None:
        """Count data from the server."""
        self.down += size
        self._answered = True

    def settle(self) -> None:
        """Count what goes up next as a round trip: what went up last may want no answer."""
        self._answered = True


@dataclass
class Relay:
    """Listens on a port of 127.0.0.0/8 of its own and passes everything on to ``target_port``, later.

    ``delay`` is in seconds; ``rate``, in bytes a second and each direction, makes the way narrow.
    """

    target_port: int
    delay: float = 0.0
    rate: float = math.inf
    counts: Counts = field(default_factory=Counts)
    port: int = 0

    def __enter__(self) -> Relay:
        self._loop = asyncio.new_event_loop()
        self._passable = asyncio.Event()
        self._passable.set()
        self._writers: list[asyncio.StreamWriter] = []
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def stall(self) -> None:
        """Pass nothing on any more, and close nothing: the way is dead, and nobody says so."""
        self._loop.call_soon_threadsafe(self._passable.clear)

    def cut(self, for_good: bool = False) -> None:
        """Cut every connection; ``for_good`` takes no more of them."""
        asyncio.run_coroutine_threadsafe(self._cut(for_good), self._loop).result(10)

    def make_known(self, known_hosts: Path) -> None:
        """Let ssh clients that know the server know it at the relay's port."""
        known_hosts.write_text(known_hosts.read_text().replace(f":{self.target_port} ", f":{self.port} "))

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "0.0.0.0")
        self.port = self._server.sockets[0].getsockname()[1]

    async def _cut(self, for_good: bool) -> None:
        if for_good:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _close(self) -> None:
        self._server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counts.connections += 1
        there, back = await asyncio.open_connection("127.0.0.1", self.target_port)
        self._writers += writer, back
        # Python before 3.12 complains of a handler that is cancelled; the relay's own end is no error.
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(self._pass(reader, back, up=True), self._pass(there, writer, up=False))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, up: bool) -> None:
        """Pass one direction on until its end; later data never overtakes, and does not wait for earlier."""
        due: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(0 if math.isinf(self.rate) else 1)
        sender = asyncio.create_task(self._send(due, writer))
        try:
            while data := await reader.read(_CHUNK):
                if up:
                    self.counts.pass_up(len(data))
                else:
                    self.counts.pass_down(len(data))
                await due.put((self._loop.time() + self.delay, data))
        except ConnectionError:
            pass
        await due.put((self._loop.time() + self.delay, b""))
        await sender

    async def _send(self, due: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                when, data = await due.get()
                await asyncio.sleep(max(0.0, when - self._loop.time()))
                await self._passable.wait()
                if not data:
                    break
                writer.write(data)
                await writer.drain()
                await asyncio.sleep(len(data) / self.rate)
        except ConnectionError:
            pass
        finally:
            writer.close()
