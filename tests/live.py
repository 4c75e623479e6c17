"""The API on a loopback port, in a thread of the test's own process."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import httpx
import uvicorn

from llmd.api.app import create_app
from llmd.config.settings import ServerSettings
from llmd.errors import LlmdError
from llmd.registry.instance import ModelInstance
from llmd.registry.registry import ModelRegistry
from llmd.responses.store import ResponseStore

PATIENCE = 30.0
"""Seconds after which something that must happen counts as never happening."""


@dataclass
class LiveServer:
    """A served model. `port` takes connections from the start; `loaded` is set when the model's
    load ended, well or not.
    """

    instance: ModelInstance
    port: int
    loaded: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=PATIENCE, trust_env=False)


@contextmanager
def serving(
    make_instance: Callable[[], ModelInstance],
    settings: ServerSettings | None = None,
    *,
    wait: bool = True,
    send_buffer: int | None = None,
    store: ResponseStore | None = None,
) -> Iterator[LiveServer]:
    """Serve one model until the block ends. `make_instance` is called on the server's loop.
    Without `wait` the block begins while the model loads. `send_buffer` is the kernel's share of a
    connection, in bytes. `store` keeps responses, left out in memory; it is closed at the end.
    """
    settings = settings or ServerSettings()
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if send_buffer is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    listener.bind(("127.0.0.1", 0))
    listener.listen(256)
    found: list[LiveServer] = []
    stop: list[Callable[[], None]] = []
    failures: list[LlmdError] = []
    running = threading.Event()

    async def main() -> None:
        try:
            instance = make_instance()
        except LlmdError as error:
            failures.append(error)
            running.set()
            return
        registry = ModelRegistry([instance], strict_names=settings.strict_model_names)
        app = create_app(registry, settings, store)
        config = uvicorn.Config(
            app, log_config=None, lifespan="off", timeout_graceful_shutdown=1, http="httptools"
        )
        server = uvicorn.Server(config)
        live = LiveServer(instance, listener.getsockname()[1])
        found.append(live)
        stop.append(lambda: setattr(server, "should_exit", True))
        running.set()

        async def load() -> None:
            with suppress(LlmdError):
                await instance.load()
            live.loaded.set()

        loading = asyncio.ensure_future(load())
        await server.serve(sockets=[listener])
        await app.state.llmd.close()
        await registry.close()
        await asyncio.gather(loading, return_exceptions=True)

    thread = threading.Thread(target=asyncio.run, args=(main(),), name="server")
    thread.start()
    try:
        assert running.wait(PATIENCE)
        if failures:
            raise failures[0]
        if wait:
            assert found[0].loaded.wait(PATIENCE), "the model did not load"
        yield found[0]
    finally:
        for each in stop:
            each()
        thread.join(PATIENCE)
        listener.close()
        assert not thread.is_alive(), "the server did not end"
