"""What a supervisor is told of the daemon as it goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from llmd.api.draining import Drain
from llmd.daemon.notify import Notifier
from llmd.errors import LlmdError
from llmd.registry.instance import ModelState
from llmd.registry.registry import ModelRegistry

STATUS_INTERVAL = 1.0
"""Seconds between two looks at what there is to tell."""

LOAD_PATIENCE = 120.0
"""Seconds in which a load under way must come further; the supervisor may give up after them."""

STORE_PATIENCE = 60.0
"""Seconds, after the grace, in which computed prefixes are written to disk and memory is freed."""


class Supervision:
    """Tells systemd when the daemon is ready, what it does, and that it lives; does nothing where
    there is nobody to tell. Event loop only.
    """

    def __init__(
        self,
        notifier: Notifier,
        registry: ModelRegistry,
        drain: Drain,
        *,
        is_alive: Callable[[], bool] = lambda: True,
    ) -> None:
        """While `is_alive` is False the supervisor's watchdog is not told otherwise, and ends the
        daemon. That the event loop turns needs no asking.
        """
        self._notifier = notifier
        self._registry = registry
        self._drain = drain
        self._is_alive = is_alive
        self._is_ready = False
        self._told = ""
        self._seen: list[tuple[ModelState, float]] = []

    async def run(self) -> None:
        """Until cancelled."""
        if self._notifier.is_on:
            await asyncio.gather(self._tell_status(), self._feed_watchdog())

    def ready(self) -> None:
        """The daemon takes requests, and a model can serve."""
        if self._drain.is_on:
            return
        self._is_ready = True
        self._told = describe(self._registry, self._drain)
        self._notifier.ready(self._told)

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Around reading the configuration again."""
        if not self._is_ready or self._drain.is_on:
            yield
            return
        self._notifier.reloading()
        status = None
        try:
            yield
        except LlmdError as error:
            status = f"the configuration is not reloaded: {error.message}"
            raise
        finally:
            self._notifier.ready(status or describe(self._registry, self._drain))

    def stopping(self, grace: float) -> None:
        """The end begins, with so many seconds for the requests that run."""
        self._told = describe(self._registry, self._drain)
        self._notifier.stopping(self._told, grace + STORE_PATIENCE)

    def look(self) -> None:
        """Tell what has changed."""
        status = describe(self._registry, self._drain)
        if status != self._told:
            self._told = status
            self._notifier.status(status)
        seen = [(each.state, each.load_progress) for each in self._registry.list()]
        if not self._is_ready and not self._drain.is_on and seen != self._seen:
            self._notifier.extend_timeout(LOAD_PATIENCE)
        self._seen = seen

    async def _tell_status(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(STATUS_INTERVAL)

    async def _feed_watchdog(self) -> None:
        interval = self._notifier.watchdog_interval
        while interval is not None:
            if self._is_alive():
                self._notifier.alive()
            await asyncio.sleep(interval / 2)


def describe(registry: ModelRegistry, drain: Drain) -> str:
    """One line for people: `serving tiny, 3 running, 1 waiting`."""
    if drain.is_on:
        return f"stopping, {drain.num_inside} requests are finishing"
    models = registry.list()
    loading = [
        f"loading {each.name}: {each.load_progress * 100:.0f} %"
        for each in models
        if each.state is ModelState.LOADING
    ]
    ready = [each for each in models if each.is_ready]
    if ready:
        num_waiting = sum(each.client.num_waiting for each in ready)
        num_running = sum(each.client.num_unfinished for each in ready) - num_waiting
        names = ", ".join(each.name for each in ready)
        serving = f"serving {names}, {num_running} running, {num_waiting} waiting"
        return "; ".join([serving, *loading])
    if loading:
        return "; ".join(loading)
    names = ", ".join(each.name for each in models if each.can_serve)
    return f"no model is loaded; on demand: {names}" if names else "no model can serve"
