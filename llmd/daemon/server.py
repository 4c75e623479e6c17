"""The daemon: sockets, models and the API, from start to clean end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from llmd.api.app import create_app
from llmd.api.state import ApiState
from llmd.config.load import LoadedSettings
from llmd.config.model_reference import resolve, served_id
from llmd.daemon import logs
from llmd.daemon.listener import address_of, bind
from llmd.daemon.table import start_up_table
from llmd.registry.instance import ModelInstance
from llmd.registry.registry import ModelRegistry
from llmd.responses.opening import open_store

logger = logging.getLogger("llmd.daemon")

PROGRESS_INTERVAL = 3.0
"""Seconds between two lines about a load under way."""

SWITCH_INTERVAL = 0.0005
"""Seconds after which a busy event loop hands the GIL to the engine thread, which waits for it
between two decodes; Python's default of 5 ms would show in every token."""


class _Server(uvicorn.Server):
    """The first SIGINT or SIGTERM lets what runs finish within the grace, the second ends it now.

    Uvicorn's own way raises the signal again after its shutdown, and so ends the process before the
    model is freed and with a signal for an exit code; of a second SIGTERM it takes no notice.
    """

    def __init__(self, config: uvicorn.Config, state: ApiState) -> None:
        super().__init__(config)
        self._state = state
        self._grace_ends: float | None = None

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        # What runs in the background has no connection that would have been waited for.
        now = asyncio.get_running_loop().time()
        left = 0.0 if self.force_exit else (self._grace_ends or now) - now
        await self._state.close(grace=max(0.0, left))

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        ours = (signal.SIGINT, signal.SIGTERM)
        for each in ours:
            loop.add_signal_handler(each, self._stop)
        try:
            yield
        finally:
            for each in ours:
                loop.remove_signal_handler(each)

    def _stop(self) -> None:
        if self.should_exit:
            self.force_exit = True
            self._state.background.stop()
            return
        self.should_exit = True
        grace = self.config.timeout_graceful_shutdown or 0
        self._grace_ends = asyncio.get_running_loop().time() + grace
        logger.info(
            "stopping; running requests get %s s to finish, a second signal ends them", grace
        )


def run(loaded: LoadedSettings) -> None:
    """Serve until SIGINT or SIGTERM; returns after a clean end. Raises StartupError when it cannot
    start, and what made the engine end by itself.
    """
    settings = loaded.settings
    logs.configure(settings.server.log_level, json=settings.server.log_json)
    path = resolve(settings.model.source)
    listener = bind(settings.server)
    sys.setswitchinterval(SWITCH_INTERVAL)
    try:
        store = open_store(settings.server, os.environ)
        instance = ModelInstance(served_id(settings), path, settings.model)
        registry = ModelRegistry([instance], strict_names=settings.server.strict_model_names)
        app = create_app(registry, settings.server, store)
        config = uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=settings.server.shutdown_grace,
        )
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            server = _Server(config, app.state.llmd)
            runner.run(_serve(loaded, instance, app.state.llmd, listener, server))
    finally:
        listener.close()


async def _serve(
    loaded: LoadedSettings,
    instance: ModelInstance,
    state: ApiState,
    listener: socket.socket,
    server: uvicorn.Server,
) -> None:
    loading = asyncio.ensure_future(_load(instance, server, listener, loaded))
    try:
        await server.serve(sockets=[listener])
    finally:
        if not loading.done():
            # SIGTERM while loading: the load stops at its next progress report.
            loading.cancel()
        await state.close()
        await state.registry.close()
        if loaded.settings.server.uds is not None:
            loaded.settings.server.uds.unlink(missing_ok=True)
    if not loading.cancelled():
        loading.result()


async def _load(
    instance: ModelInstance, server: uvicorn.Server, listener: socket.socket, loaded: LoadedSettings
) -> None:
    logger.debug("loading %s", instance.name)
    address = address_of(listener)  # a shutdown under way closes it
    progress = asyncio.ensure_future(_report_progress(instance))
    try:
        model = await instance.load()
    except BaseException:
        server.should_exit = True
        raise
    finally:
        progress.cancel()
    for line in start_up_table(instance.name, model, loaded):
        logger.info("%s", line)
    logger.info("ready at %s", address)
    if loaded.settings.model.source == "tiny":
        logger.info("this is the small bundled model; serve your own: llmd serve MODEL.gguf")


async def _report_progress(instance: ModelInstance) -> None:
    """A line now and then while a large model loads."""
    while True:
        await asyncio.sleep(PROGRESS_INTERVAL)
        logger.info("loading %s: %.0f %%", instance.name, instance.load_progress * 100)
