"""The keys that clients must bring, and what each of them may do.

A file of keys holds digests alone, so whoever reads it cannot use them:

    [keys.alice]
    hash = "sha256:9f86d081884c7d65..."   # of the key that `llmd key new alice` made
    models = ["qwen"]                     # served ids; left out, all
    requests_per_minute = 60              # left out, as many as come
    concurrency = 4                       # requests at once; left out, as many as come
    priority = 0                          # of its requests; they may ask for less
    admin = false                         # may load, unload, reload, and read the metrics
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, ValidationError

from llmd.config.settings import ServerSettings
from llmd.config.sources import Fault, read_toml
from llmd.config.toml_lines import line_of

HASH_PREFIX = "sha256:"

MAX_PRIORITY = 100

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")

_TAKES = {
    "hash": "sha256: and 64 hexadecimal digits, as `llmd key new` prints it",
    "models": "a list of served ids with one at least, or leave it out",
    "requests_per_minute": "a whole number from 1 to 1000000, or leave it out",
    "concurrency": "a whole number from 1 to 1000000, or leave it out",
    "priority": f"a whole number from -{MAX_PRIORITY} to {MAX_PRIORITY}",
    "admin": "true or false",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key without its secret. `name` is what logs and metrics call it."""

    name: str
    digest: bytes = field(repr=False)
    is_named: bool = True
    """Somebody gave it its name, so that it stays the same key when the secret is another."""
    models: tuple[str, ...] | None = None
    requests_per_minute: int | None = None
    concurrency: int | None = None
    priority: int = 0
    admin: bool = False


def is_key_name(name: str) -> bool:
    """Whether a key may be called so: it stands in log lines and metrics as it is."""
    return _NAME.fullmatch(name) is not None


def digest_of(secret: str) -> bytes:
    """What is kept of a secret. One fast hash does, as `llmd key new` makes secrets of 256 random
    bits, which nobody finds by trying.
    """
    return sha256(secret.encode("utf-8", "surrogateescape")).digest()


def hash_of(secret: str) -> str:
    """The digest as a file of keys spells it."""
    return HASH_PREFIX + digest_of(secret).hex()


def configured_keys(settings: ServerSettings, faults: list[Fault]) -> tuple[ApiKey, ...]:
    """Every key of the settings and of the file that they name; none at all leaves the daemon open.
    The keys that stand in the settings themselves are the operator's own: they may do everything.
    What is wrong in the file is added to `faults`. Raises ConfigError where it cannot be read.
    """
    own = [
        ApiKey(
            name=f"api-key#{number}",
            digest=digest_of(secret.get_secret_value()),
            is_named=False,
            admin=True,
        )
        for number, secret in enumerate(dict.fromkeys(settings.api_key), start=1)
    ]
    if settings.keys_file == "none":
        return tuple(own)
    return (*own, *read_api_keys(settings.keys_file, faults, known=own))


def read_api_keys(
    path: Path, faults: list[Fault], *, known: Sequence[ApiKey] = ()
) -> tuple[ApiKey, ...]:
    """The keys in a file; what is wrong there is added to `faults`, and so is a secret that is one
    of the `known` keys' too. Raises ConfigError where the file cannot be read.
    """
    num_faults = len(faults)
    text, tables = read_toml(path, faults)
    if len(faults) > num_faults:
        return ()
    reader = _Reader(path, text, faults, {key.digest: key.name for key in known})
    keys = tuple(reader.read(tables))
    if not keys and len(faults) == num_faults:
        # Taken for "no keys", it would open the daemon to everybody.
        reader.fault((), "holds no key. Add one: llmd key new NAME")
    return keys


class _KeyTable(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    hash: Annotated[StrictStr, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    models: Annotated[list[StrictStr], Field(min_length=1)] | None = None
    requests_per_minute: Annotated[StrictInt, Field(ge=1, le=1_000_000)] | None = None
    concurrency: Annotated[StrictInt, Field(ge=1, le=1_000_000)] | None = None
    priority: Annotated[StrictInt, Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY)] = 0
    admin: StrictBool = False


class _Reader:
    def __init__(self, path: Path, text: str, faults: list[Fault], names: dict[bytes, str]) -> None:
        self._path = path
        self._text = text
        self._faults = faults
        self._names = names
        """Of the keys so far, by digest."""

    def read(self, tables: dict[str, Any]) -> Iterator[ApiKey]:
        for section, value in tables.items():
            if section != "keys" or not isinstance(value, dict):
                place = (section, *list(value)[:1]) if isinstance(value, dict) else (section,)
                self.fault(place, f"unknown {section}. Write each key as [keys.NAME].")
                continue
            for name, table in value.items():
                key = self._key(name, table)
                if key is not None:
                    yield key

    def fault(self, key: tuple[str, ...], what: str) -> None:
        line = line_of(self._text, key) if key else None
        origin = f"{self._path} line {line}" if line else str(self._path)
        self._faults.append(Fault(f"{origin}: {what}", line))

    def _key(self, name: str, table: Any) -> ApiKey | None:
        valid = self._valid(name, table)
        if valid is None:
            return None
        digest = bytes.fromhex(valid.hash.removeprefix(HASH_PREFIX))
        if digest in self._names:
            what = f"keys.{name} has the same secret as {self._names[digest]}."
            cure = f"Make one of its own: llmd key new {name}"
            self.fault(("keys", name, "hash"), f"{what} {cure}")
            return None
        self._names[digest] = name
        return ApiKey(
            name=name,
            digest=digest,
            models=None if valid.models is None else tuple(valid.models),
            requests_per_minute=valid.requests_per_minute,
            concurrency=valid.concurrency,
            priority=valid.priority,
            admin=valid.admin,
        )

    def _valid(self, name: str, table: Any) -> _KeyTable | None:
        place = ("keys", name)
        if not isinstance(table, dict):
            self.fault(place, f"keys.{name} is a section. Write it as [keys.{name}].")
        elif not is_key_name(name):
            cure = "Use up to 64 letters, digits and . _ @ - of them."
            self.fault(place, f"{name!r} is no name for a key. {cure}")
        else:
            try:
                return _KeyTable.model_validate(table)
            except ValidationError as error:
                for details in error.errors(include_url=False, include_input=False):
                    self._explain(place, str(details["loc"][0]), details["type"])
        return None

    def _explain(self, place: tuple[str, ...], field_name: str, kind: str) -> None:
        where = (*place, field_name)
        dotted = ".".join(where)
        if kind == "missing":
            self.fault(place, f"{dotted} is missing. Make a key: llmd key new {place[-1]}")
        elif kind == "extra_forbidden":
            self.fault(where, f"unknown key {dotted}. Known are: {', '.join(_TAKES)}.")
        else:
            # The value is not shown: somebody may have put the secret itself there.
            cure = f"Set it to {_TAKES[field_name]}."
            self.fault(where, f"{dotted} has a value that it cannot have. {cure}")
