"""What the log says of loads."""

from __future__ import annotations

import asyncio
import logging

from llmd.config.load import LoadedSettings
from llmd.daemon.table import start_up_table
from llmd.errors import Draining, LlmdError
from llmd.registry.instance import ModelInstance
from llmd.registry.residency import LoadObserver

logger = logging.getLogger("llmd.daemon")

PROGRESS_INTERVAL = 3.0
"""Seconds between two lines about a load under way."""


class LoadLog(LoadObserver):
    """Tells loads as they go, and at the end every value that holds. Event loop only."""

    def __init__(self, loaded: LoadedSettings) -> None:
        self.settings = loaded
        """Those that the next loads go by."""
        self.tells_failures = False
        """At the start, the daemon ends with them, or tells them itself."""
        self._progress: asyncio.Task[None] | None = None

    def loading(self, instance: ModelInstance) -> None:
        logger.debug("loading %s", instance.name)
        self._progress = asyncio.ensure_future(_report_progress(instance))

    def loaded(self, instance: ModelInstance) -> None:
        self.close()
        for line in start_up_table(instance.name, instance.model, self.settings):
            logger.info("%s", line)

    def failed(self, instance: ModelInstance, error: LlmdError) -> None:
        self.close()
        if self.tells_failures and not isinstance(error, Draining):
            self.tell(instance.name, error)

    def tell(self, name: str, error: LlmdError) -> None:
        logger.error("cannot load %s: %s", name, error.message)

    def close(self) -> None:
        """Tell no more of a load under way. Idempotent."""
        if self._progress is not None:
            self._progress.cancel()
            self._progress = None


async def _report_progress(instance: ModelInstance) -> None:
    """A line now and then while a large model loads."""
    while True:
        await asyncio.sleep(PROGRESS_INTERVAL)
        logger.info("loading %s: %.0f %%", instance.name, instance.load_progress * 100)
