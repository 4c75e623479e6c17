"""Engines that get no further."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from llmd.api.state import ApiState
from llmd.daemon.stacks import all_stacks
from llmd.errors import EngineFailed

logger = logging.getLogger("llmd.daemon")

LOOK_INTERVAL = 2.0
"""Seconds between two looks."""

PATIENCE = 4
"""Times the engine's longest step so far, that a step may take beyond `stuck_after`."""


class Watchdog:
    """Finds engines that are at one step for too long. It says so in the log, with the stacks of
    all threads, and in `ApiState.stuck`, by which the daemon is not ready; and where somebody will
    start it anew it ends the daemon. Event loop only.

    A thread inside llama.cpp cannot be stopped, so nothing less than a new process helps.
    """

    def __init__(
        self,
        state: ApiState,
        *,
        is_supervised: bool,
        end: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`is_supervised` says that whoever started the daemon starts it again when it fails; else
        `exit_when_stuck` does. `end` lets it end as by a signal. `clock` gives seconds.
        """
        self.error: EngineFailed | None = None
        """What the daemon is ended for."""
        self._state = state
        self._is_supervised = is_supervised
        self._end = end
        self._clock = clock
        self._looked_at = clock()
        self._seen: dict[str, tuple[float, float]] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_INTERVAL)

    def look(self) -> None:
        """Due every LOOK_INTERVAL."""
        state, now = self._state, self._clock()
        # A process that was stopped meanwhile (Ctrl-Z, a paused container) did no less than this.
        passed = min(now - self._looked_at, 2 * LOOK_INTERVAL)
        self._looked_at = now
        limit, before, stuck = state.settings.stuck_after, self._seen, set()
        self._seen = {}
        for each in state.registry.list():
            since = each.busy_since
            if since is None:
                continue
            last, seconds = before.get(each.name, (None, 0.0))
            seconds = seconds + passed if since == last else 0.0
            self._seen[each.name] = since, seconds
            if limit and seconds > limit + PATIENCE * each.client.longest_seconds:
                stuck.add(each.name)
        new = stuck - state.stuck
        state.stuck.clear()
        state.stuck.update(stuck)
        for name in new:
            logger.critical(
                "the engine of %s has been at one step for %.0f s; this is what all threads do",
                name,
                self._seen[name][1],
                extra={"stacks": all_stacks()},
            )
        if stuck and self.error is None and (self._is_supervised or state.settings.exit_when_stuck):
            self._give_up(stuck)

    def _give_up(self, stuck: set[str]) -> None:
        names = ", ".join(sorted(stuck))
        self.error = EngineFailed(
            f"the engine of {names} got no further, so llmd ended. Start it again; the log shows "
            f"where it was."
        )
        logger.critical("ending, to be started again")
        failure = EngineFailed(
            "the model got no further; llmd starts again. Try again in a minute."
        )
        for name in stuck:
            self._state.registry.find(name).stop(failure)
        self._end()
