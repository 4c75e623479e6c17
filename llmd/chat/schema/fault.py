"""What is wrong with a schema, and where."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """`pointer` is a JSON pointer as a URI fragment, such as `#/properties/tags/uniqueItems`.
    `is_invalid` tells a schema that breaks the rules of JSON Schema from one that llmd cannot
    enforce.
    """

    pointer: str
    reason: str
    is_invalid: bool = False

    @property
    def keyword(self) -> str:
        return self.pointer.rpartition("/")[2].replace("~1", "/").replace("~0", "~")


class SchemaFaulty(Exception):
    """Ends the reading of a schema at its first fault."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.reason)
        self.fault = fault


class FaultList:
    """Where the faults of one schema go: the first one raises SchemaFaulty, or, where the schema
    is to be loosened, they are listed and what they are about is left out.
    """

    def __init__(self, *, loosens: bool) -> None:
        self._loosens = loosens
        self._faults: list[Fault] = []

    @property
    def pointers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(fault.pointer for fault in self._faults))

    def unsupported(self, pointer: str, reason: str) -> None:
        self._add(Fault(pointer, reason))

    def invalid(self, pointer: str, reason: str) -> None:
        self._add(Fault(pointer, reason, is_invalid=True))

    def _add(self, fault: Fault) -> None:
        if not self._loosens:
            raise SchemaFaulty(fault)
        self._faults.append(fault)


def below(pointer: str, *steps: str | int) -> str:
    """The pointer to what lies `steps` below `pointer` (RFC 6901)."""
    escaped = (str(step).replace("~", "~0").replace("/", "~1") for step in steps)
    return "/".join((pointer, *escaped))
