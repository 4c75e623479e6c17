"""The daemon: sockets, models and the API, from start to clean end."""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from llmd.api.app import create_app
from llmd.config.load import LoadedSettings
from llmd.config.model_reference import resolve, served_id
from llmd.config.settings import ServerSettings
from llmd.daemon import logs
from llmd.daemon.table import start_up_table
from llmd.errors import AddressInUse, StartupError
from llmd.registry.instance import ModelInstance
from llmd.registry.registry import ModelRegistry

logger = logging.getLogger("llmd.daemon")

BACKLOG = 2048

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
            return
        self.should_exit = True
        grace = self.config.timeout_graceful_shutdown
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
        uvicorn_config = uvicorn.Config(
            app=_unused,
            loop="uvloop" if sys.platform != "win32" else "asyncio",
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=settings.server.shutdown_grace,
        )
        runner = asyncio.Runner(loop_factory=uvicorn_config.get_loop_factory())
        with runner:
            runner.run(_serve(loaded, path, listener, uvicorn_config))
    finally:
        listener.close()


def bind(settings: ServerSettings) -> socket.socket:
    """A bound socket. Raises AddressInUse or StartupError; done before the model is loaded, so
    that a taken port is told at once.
    """
    if settings.uds is not None:
        return _bind_unix(settings.uds)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    address = f"{settings.host}:{settings.port}"
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(
                f"{address} is in use by another program. Choose another --port, or stop it."
            ) from error
        raise StartupError(
            f"cannot listen on {address}: {error.strerror or error}. Check --host and --port."
        ) from error
    return listener


def _bind_unix(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket() and not _answers(path):
            path.unlink()  # left behind by a daemon that was killed
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise AddressInUse(
            f"cannot listen on the socket {path}: {error.strerror or error}. Choose another --uds."
        ) from error
    return listener


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) == 0


async def _serve(
    loaded: LoadedSettings, path: Path, listener: socket.socket, uvicorn_config: uvicorn.Config
) -> None:
    settings = loaded.settings
    instance = ModelInstance(served_id(settings), path, settings.model)
    registry = ModelRegistry([instance], strict_names=settings.server.strict_model_names)
    uvicorn_config.app = create_app(registry, settings.server)
    server = _Server(uvicorn_config)
    loading = asyncio.ensure_future(_load(instance, server, listener, loaded))
    try:
        await server.serve(sockets=[listener])
    finally:
        if not loading.done():
            # SIGTERM while loading: the load stops at its next progress report.
            loading.cancel()
        await registry.close()
        if settings.server.uds is not None:
            settings.server.uds.unlink(missing_ok=True)
    if not loading.cancelled():
        loading.result()


async def _load(
    instance: ModelInstance, server: uvicorn.Server, listener: socket.socket, loaded: LoadedSettings
) -> None:
    logger.info("loading %s", instance.name)
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
    logger.info("ready at %s", _address(listener))
    if loaded.settings.model.source == "tiny":
        logger.info("this is the small bundled model; serve your own: llmd serve MODEL.gguf")


async def _report_progress(instance: ModelInstance) -> None:
    """A line now and then while a large model loads."""
    while True:
        await asyncio.sleep(PROGRESS_INTERVAL)
        logger.info("loading %s: %.0f %%", instance.name, instance.load_progress * 100)


def _address(listener: socket.socket) -> str:
    name = listener.getsockname()
    if isinstance(name, str):
        return f"unix:{name}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"http://{host}:{name[1]}"


async def _unused(scope: object, receive: object, send: object) -> None:
    raise AssertionError("replaced before the server starts")
