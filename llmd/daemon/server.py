"""The daemon: sockets, models and the API, from start to clean end."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import sys
from collections.abc import Callable

import uvicorn

from llmd.api.app import create_app
from llmd.api.state import ApiState
from llmd.config.load import LoadedSettings
from llmd.daemon import logs
from llmd.daemon.key_warnings import warn_of_keys
from llmd.daemon.listener import Listeners, open_listeners
from llmd.daemon.load_log import LoadLog
from llmd.daemon.notify import Notifier
from llmd.daemon.protocol import BoundedHttpProtocol
from llmd.daemon.reloading import Reloading
from llmd.daemon.signals import handled_signals
from llmd.daemon.supervision import Supervision
from llmd.daemon.watchdog import Watchdog
from llmd.daemon.web_server import WebServer
from llmd.errors import Draining, ModelLoadError
from llmd.registry.budget import MemoryBudget
from llmd.registry.instance import ModelInstance
from llmd.registry.registry import ModelRegistry
from llmd.responses.opening import open_store
from llmd.store.locate import locate

logger = logging.getLogger("llmd.daemon")

SWITCH_INTERVAL = 0.0005
"""Seconds after which a busy event loop hands the GIL to the engine thread, which waits for it
between two decodes; Python's default of 5 ms would show in every token."""


ABORT_PATIENCE = 1.0
"""Seconds that the models get to end by themselves when a second signal came."""


def run(loaded: LoadedSettings) -> None:
    """Serve until SIGINT or SIGTERM; returns after a clean end. Raises StartupError when it cannot
    start.
    """
    settings = loaded.settings
    logs.configure(settings.server.log_level, json=settings.server.log_json)
    faulthandler.enable(2)
    notifier = Notifier(os.environ)
    _check_files(loaded)
    keys = loaded.read_keys()
    listeners = open_listeners(settings.server, os.environ)
    if listeners.is_inherited:
        logger.info("systemd has opened the sockets; host, port and uds are not used")
    sys.setswitchinterval(SWITCH_INTERVAL)
    try:
        store = open_store(settings.server, os.environ)
        load_log = LoadLog(loaded)
        registry = ModelRegistry(
            [ModelInstance(name, None, model) for name, model in settings.models.items()],
            strict_names=settings.server.strict_model_names,
            preload=loaded.preloaded,
            idle_unload=settings.server.idle_unload,
            budget=MemoryBudget(settings.server.memory_budget),
            observer=load_log,
        )
        app = create_app(registry, settings.server, store)
        state: ApiState = app.state.llmd
        state.keys.replace(keys)
        warn_of_keys(settings, keys)
        config = uvicorn.Config(
            app,
            http=BoundedHttpProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            forwarded_allow_ips=list(settings.server.forwarded_allow_ips),
        )
        supervision = Supervision(notifier, registry, state.drain, is_alive=lambda: not state.stuck)
        server = WebServer(
            config,
            state,
            listeners,
            grace=settings.server.shutdown_grace,
            on_stop=supervision.stopping,
        )
        reloading = Reloading(loaded, state, load_log, server.set_grace, supervision)
        state.reload = reloading.reload
        watchdog = Watchdog(state, is_supervised=notifier.is_on, end=server.stop)
        daemon = Daemon(state, load_log, listeners, server, supervision, watchdog)
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(daemon.serve(reloading.reload_soon))
    finally:
        listeners.close()


def _check_files(loaded: LoadedSettings) -> None:
    """A model whose file is not there is told at the start, and may come later. Raises
    ModelLoadError where there is none at all.
    """
    failures = []
    for name, model in loaded.settings.models.items():
        try:
            locate(model.source)
        except ModelLoadError as error:
            failures.append((name, error))
    if len(failures) == len(loaded.settings.models):
        raise failures[0][1]
    for name, failure in failures:
        logger.warning("cannot serve %s now: %s", name, failure.message)


class Daemon:
    """All parts together, from the first connection to the last byte. Event loop only."""

    def __init__(
        self,
        state: ApiState,
        load_log: LoadLog,
        listeners: Listeners,
        server: WebServer,
        supervision: Supervision,
        watchdog: Watchdog,
    ) -> None:
        self._state = state
        self._load_log = load_log
        self._listeners = listeners
        self._server = server
        self._supervision = supervision
        self._watchdog = watchdog

    async def serve(self, reload: Callable[[], None]) -> None:
        """Until a signal ends it. Raises what a model failed with at the start where no other can
        serve, and EngineFailed where the watchdog ended it. `reload` is called for SIGHUP.
        """
        telling = asyncio.gather(self._supervision.run(), self._watchdog.run())
        starting = asyncio.ensure_future(self._start())
        with handled_signals(self._server.stop, reload):
            try:
                await self._server.serve(sockets=self._listeners.sockets)
            finally:
                # SIGTERM while loading: the load stops at its next progress report.
                starting.cancel()
                await self._state.close()
                await self._close_models()
                self._load_log.close()
                telling.cancel()
                await asyncio.gather(telling, return_exceptions=True)
        if starting.done() and not starting.cancelled():
            starting.result()
        if self._watchdog.error is not None:
            raise self._watchdog.error

    async def _start(self) -> None:
        """Load what is to be loaded now. Raises what a model failed with where no other can
        serve.
        """
        registry, load_log = self._state.registry, self._load_log
        addresses = self._listeners.addresses  # a shutdown under way closes them
        failures = await registry.start()
        if any(isinstance(error, Draining) for error in failures.values()):
            return  # a signal came first
        if not registry.is_ready:
            self._server.should_exit = True
            raise next(iter(failures.values()))
        for name, error in failures.items():
            load_log.tell(name, error)
        load_log.tells_failures = True
        models = registry.list()
        later = [each.name for each in models if not each.is_ready and each.name not in failures]
        if later:
            logger.info("loaded when they are asked for: %s", ", ".join(later))
        logger.info("ready at %s", " and ".join(addresses))
        self._supervision.ready()
        if [each.settings.source for each in models] == ["tiny"]:
            logger.info("this is the small bundled model; serve your own: llmd serve MODEL.gguf")

    async def _close_models(self) -> None:
        """Computed prefixes go to disk and memory is given back. After a second signal the process
        ends without, where that takes long.
        """
        if self._state.stuck:
            self._server.forced.set()  # they never end
        forced = asyncio.ensure_future(self._server.forced.wait())
        closing = asyncio.ensure_future(self._state.registry.close())
        await asyncio.wait((forced, closing), return_when=asyncio.FIRST_COMPLETED)
        forced.cancel()
        await asyncio.wait((closing,), timeout=ABORT_PATIENCE)
        if not closing.done():
            logger.warning("ended at once; prefixes that were not stored yet are lost")
            logging.shutdown()
            os._exit(1)  # a thread inside llama.cpp cannot be stopped in any other way
        closing.result()
