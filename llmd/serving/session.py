"""Requests of which only the newest is of interest."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Coroutine
from hashlib import blake2b
from typing import Any
from weakref import ref

from llmd.errors import Superseded
from llmd.serving.generation import Generation

TAKEN = (
    "a newer request of this session took the place of this one. Read its answer, or send the two "
    "in sessions of their own."
)

MAX_SESSIONS = 4096
"""That are remembered; of the longest unused an older request then runs on."""


class Sessions:
    """An editor asks for a completion at each key stroke and wants the last one only. Its requests
    name a session; a newer one ends the one before it. Event loop only.
    """

    def __init__(self) -> None:
        self._newest: OrderedDict[tuple[str, bytes], _Turn] = OrderedDict()

    async def start(
        self, tenant: str, session: str | None, begin: Callable[[], Coroutine[Any, Any, Generation]]
    ) -> Generation:
        """The generation that `begin` begins, in the place of the last one of its session; None is
        a session of its own, and those of two tenants are never the same. Raises Superseded where
        a newer one came meanwhile.
        """
        if session is None:
            return await begin()
        digest = blake2b(session.encode(), digest_size=16).digest()
        turn, key = _Turn(), (tenant, digest)
        older = self._newest.pop(key, None)
        self._newest[key] = turn
        while len(self._newest) > MAX_SESSIONS:
            self._newest.popitem(last=False)
        if older is not None:
            older.supersede()
        generation = await begin()
        if turn.is_superseded:
            generation.close()
            raise Superseded(TAKEN)
        turn.generation = ref(generation)
        return generation


class _Turn:
    """One request of a session, which may not have begun to generate."""

    def __init__(self) -> None:
        self.is_superseded = False
        # Whoever answers holds it; what was answered is not kept for the session's sake.
        self.generation: ref[Generation] | None = None

    def supersede(self) -> None:
        self.is_superseded = True
        generation = self.generation() if self.generation is not None else None
        if generation is not None:
            generation.fail(Superseded(TAKEN))
