"""Who waits, and whose turn it is. Pure bookkeeping: it knows no model and no clock.

Rule 1. A higher `request.priority` goes first. There is no bound for the lower: it waits as long as
        higher ones keep coming.
Rule 2. Among equals in priority, sequences that were set back go before new ones: their answers
        are half read. They are never more than the sequences that can run together.
Rule 3. Of these, tenants take turns: first those that had none yet, in the order in which they
        came, then the one whose last admission is longest ago. So while a tenant has a sequence
        that could be admitted, every other tenant is admitted at most once before it, however
        much they send.
Rule 4. Within a tenant, by arrival. Passing a sequence over costs its tenant nothing: the turn goes
        to the tenant's next one, and is used up by an admission only.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import Counter, deque
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, count, groupby
from operator import attrgetter
from typing import Generic, Protocol, TypeVar

MAX_PASSED_OVER = 64
"""Sequences of one tenant (of one rank) that one look at the queue may pass over, so that its cost
does not grow with the queue. Those behind them are looked at when one of them has left."""

MAX_REMEMBERED = 4096
"""Tenants without a waiting sequence whose last turn is remembered; a forgotten one counts as new.
Rule 3 holds as long as no more than this come and go while one waits."""

_Rank = tuple[int, bool]
_by_arrival = attrgetter("arrival")
_by_turn = attrgetter("rank", "last_turn", "joined")


class Claim(Protocol):
    """What is asked of a request."""

    @property
    def priority(self) -> int: ...

    @property
    def tenant(self) -> str: ...


class Waiter(Hashable, Protocol):
    """What is asked of a Sequence. None of it changes while it waits; arrivals are unique."""

    @property
    def request(self) -> Claim: ...

    @property
    def arrival(self) -> int: ...

    @property
    def was_set_back(self) -> bool: ...


S = TypeVar("S", bound=Waiter)
T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Line(Generic[S]):
    """The waiting sequences of one tenant and rank, by arrival."""

    rank: _Rank
    tenant: str
    last_turn: int
    """0 where it had none."""
    joined: int
    sequences: list[S] = field(default_factory=list)

    def after(self, arrival: int) -> S | None:
        """The oldest of those that came later than `arrival`."""
        index = bisect_right(self.sequences, arrival, key=_by_arrival)
        return self.sequences[index] if index < len(self.sequences) else None

    def remove(self, sequence: S) -> None:
        del self.sequences[bisect_left(self.sequences, sequence.arrival, key=_by_arrival)]


class WaitingQueue(Generic[S]):
    """Sequences that are not running. Owned by the Scheduler; engine thread only.

    Nothing is ever sorted anew: adding and removing search in sorted lists, and looking at the
    first candidate costs the same for one sequence and for many thousands.
    """

    def __init__(self) -> None:
        self._lines: dict[tuple[_Rank, str], _Line[S]] = {}
        self._order: list[_Line[S]] = []
        """The same lines, the one whose turn it is first."""
        self._line_of: dict[S, _Line[S]] = {}
        self._last_turns: dict[tuple[_Rank, str], int] = {}
        """Of tenants that have no line now."""
        self._ticks = count(1)

    def __len__(self) -> int:
        return len(self._line_of)

    def __iter__(self) -> Iterator[S]:
        """All of them, in the order in which they were added."""
        return iter(self._line_of)

    def __contains__(self, sequence: S) -> bool:
        return sequence in self._line_of

    def add(self, sequence: S) -> None:
        """Let a sequence wait that does not wait yet."""
        assert sequence not in self._line_of
        rank = (-sequence.request.priority, not sequence.was_set_back)
        key = (rank, sequence.request.tenant)
        line = self._lines.get(key)
        if line is None:
            line = _Line(*key, self._last_turns.pop(key, 0), next(self._ticks))
            self._lines[key] = line
            insort(self._order, line, key=_by_turn)
        insort(line.sequences, sequence, key=_by_arrival)
        self._line_of[sequence] = line

    def remove(self, sequence: S) -> None:
        """Forget a waiting sequence; its tenant keeps its turn. Raises KeyError for another."""
        line = self._line_of.pop(sequence)
        line.remove(sequence)
        if not line.sequences:
            self._order.remove(line)
            key = (line.rank, line.tenant)
            del self._lines[key]
            if line.last_turn:
                self._remember(key, line.last_turn)

    def admitted(self, sequence: S) -> None:
        """Take a waiting sequence out because it runs now: its tenant had its turn."""
        line = self._line_of[sequence]
        self._order.remove(line)
        line.last_turn = next(self._ticks)
        insort(self._order, line, key=_by_turn)
        self.remove(sequence)

    def candidates(self) -> Iterator[S]:
        """Those that may be admitted, in the order of the rules, each at most once.

        The caller calls `admitted` for those that it takes, passes over those that cannot run yet,
        and stops where it likes: to go on after one that finds no room is to overtake it. Anything
        may be added and removed on the way; what joins is seen now or the next time.
        """
        for _, lines in groupby(list(self._order), key=attrgetter("rank")):
            had_turn: deque[tuple[_Line[S], int, int]] = deque()
            first_turns = ((line, -1, 0) for line in lines)
            for line, last, num_passed in chain(first_turns, _drain(had_turn)):
                while num_passed < MAX_PASSED_OVER:
                    sequence = line.after(last)
                    if sequence is None:
                        break
                    last = sequence.arrival
                    yield sequence
                    if sequence not in self:
                        had_turn.append((line, last, num_passed))
                        break
                    num_passed += 1

    def _remember(self, key: tuple[_Rank, str], last_turn: int) -> None:
        self._last_turns[key] = last_turn
        if len(self._last_turns) > MAX_REMEMBERED:
            del self._last_turns[next(iter(self._last_turns))]


def _drain(items: deque[T]) -> Iterator[T]:
    """Those that are added on the way as well."""
    while items:
        yield items.popleft()


def fair_order(sequences: Iterable[S]) -> list[S]:
    """The order in which running sequences share what there is, such as a step's prompt tokens: by
    priority, then every tenant's oldest, then every tenant's second oldest and so on, the older
    first among these. So one that is its tenant's oldest has at most one of each other tenant
    before it, all of them older.
    """
    num_older: Counter[tuple[int, str]] = Counter()
    places: dict[S, tuple[int, int]] = {}
    for sequence in sorted(sequences, key=_by_arrival):
        group = (sequence.request.priority, sequence.request.tenant)
        places[sequence] = (-sequence.request.priority, num_older[group])
        num_older[group] += 1
    return sorted(places, key=lambda sequence: places[sequence])
