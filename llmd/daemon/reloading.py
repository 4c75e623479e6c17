"""Reading the configuration again while the daemon runs: SIGHUP, and POST /reload."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from llmd.api.reloading import Reloaded
from llmd.api.state import ApiState
from llmd.config.api_keys import ApiKey
from llmd.config.load import LoadedSettings
from llmd.config.settings import ServerSettings
from llmd.daemon import logs
from llmd.daemon.key_warnings import warn_of_keys
from llmd.daemon.load_log import LoadLog
from llmd.daemon.supervision import Supervision
from llmd.errors import LlmdError

logger = logging.getLogger("llmd.daemon")

FIXED = frozenset(
    {"host", "port", "uds", "uds_mode", "forwarded_allow_ips"}
    | {"state_dir", "state_max_age", "state_max_bytes"}
)
"""Keys of [server] that hold until the daemon ends; all others change while it runs."""


class Reloading:
    """Brings a running daemon in step with its configuration. Event loop only."""

    def __init__(
        self,
        loaded: LoadedSettings,
        state: ApiState,
        load_log: LoadLog,
        set_grace: Callable[[int], None],
        supervision: Supervision,
    ) -> None:
        """`set_grace` is given the seconds that running requests get at the end."""
        self._loaded = loaded
        self._state = state
        self._load_log = load_log
        self._set_grace = set_grace
        self._supervision = supervision
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()

    async def reload(self) -> Reloaded:
        """Raises ConfigError for a configuration with a fault, and then nothing has changed."""
        async with self._turn:
            with self._supervision.reloading():
                return await self._reload()

    async def _reload(self) -> Reloaded:
        try:
            new = await asyncio.to_thread(self._loaded.again)
            keys = await asyncio.to_thread(new.read_keys)
            server, recordings = new.settings.server, self._state.recordings
            await asyncio.to_thread(recordings.configure, server.record, server.record_max_bytes)
        except LlmdError as error:
            logger.error("the configuration is not reloaded: %s", error.message)
            raise
        reloaded = self._apply(new, keys)
        logger.info("the configuration is reloaded; %s", reloaded.describe())
        return reloaded

    def reload_soon(self) -> None:
        """As `reload`; what fails is told in the log only. For signals."""
        task = asyncio.ensure_future(self._reload_quietly())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reload_quietly(self) -> None:
        try:
            await self.reload()
        except LlmdError:
            return  # it stands in the log

    def _apply(self, new: LoadedSettings, keys: tuple[ApiKey, ...]) -> Reloaded:
        running, wanted = self._state.settings, new.settings.server
        changed = [
            name
            for name in ServerSettings.model_fields
            if getattr(running, name) != getattr(wanted, name)
        ]
        kept = {name: getattr(running, name) for name in FIXED}
        server = wanted.model_copy(update=kept)
        self._loaded = self._load_log.settings = new
        self._state.settings = server
        # Of keys themselves it may be told that they are others, and no more.
        told = ("keys",) if self._state.keys.replace(keys) else ()
        warn_of_keys(new.settings, keys)
        logs.configure(server.log_level, json=server.log_json)
        self._set_grace(server.shutdown_grace)
        models = self._state.registry.apply(
            new.settings.models,
            strict_names=server.strict_model_names,
            idle_unload=server.idle_unload,
            memory_budget=server.memory_budget,
            preload=new.preloaded,
        )
        return Reloaded(
            file=new.file,
            applied=(*(f"server.{name}" for name in changed if name not in FIXED), *told),
            needs_restart=tuple(f"server.{name}" for name in changed if name in FIXED),
            models=models,
        )
