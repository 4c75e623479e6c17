"""The API on a loopback port, in a thread of the test's own process."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import uvicorn

from llmd.api.app import create_app
from llmd.api.state import ApiState
from llmd.config.settings import ServerSettings
from llmd.daemon.protocol import BoundedHttpProtocol
from llmd.errors import LlmdError
from llmd.registry.instance import ModelInstance
from llmd.registry.registry import ModelRegistry
from llmd.responses.store import ResponseStore

PATIENCE = 30.0
"""Seconds after which something that must happen counts as never happening."""


@dataclass
class LiveServer:
    """Served models. `port` takes connections from the start; `loaded` is set when what is loaded
    at the start is, or failed.
    """

    state: ApiState
    port: int
    loaded: threading.Event = field(default_factory=threading.Event)

    @property
    def registry(self) -> ModelRegistry:
        return self.state.registry

    @property
    def instance(self) -> ModelInstance:
        """The first one."""
        return self.registry.list()[0]

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
    """As `serving_all`, of one model, which is loaded at the start."""
    settings = settings or ServerSettings()

    def make() -> ModelRegistry:
        instance = make_instance()
        names = settings.strict_model_names
        return ModelRegistry([instance], strict_names=names, preload=[instance.name])

    with serving_all(make, settings, wait=wait, send_buffer=send_buffer, store=store) as live:
        yield live


@contextmanager
def serving_all(
    make_registry: Callable[[], ModelRegistry],
    settings: ServerSettings,
    *,
    wait: bool = True,
    send_buffer: int | None = None,
    store: ResponseStore | None = None,
) -> Iterator[LiveServer]:
    """Serve models until the block ends. `make_registry` is called on the server's loop. Without
    `wait` the block begins while models load. `send_buffer` is the kernel's share of a connection,
    in bytes. `store` keeps responses, left out in memory; it is closed at the end.
    """
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
            registry = make_registry()
        except LlmdError as error:
            failures.append(error)
            running.set()
            return
        app = create_app(registry, settings, store)
        config = uvicorn.Config(
            app,
            log_config=None,
            lifespan="off",
            timeout_graceful_shutdown=1,
            http=BoundedHttpProtocol,
        )
        server = uvicorn.Server(config)
        live = LiveServer(app.state.llmd, listener.getsockname()[1])
        found.append(live)
        stop.append(lambda: setattr(server, "should_exit", True))
        running.set()

        async def load() -> None:
            await registry.start()
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
