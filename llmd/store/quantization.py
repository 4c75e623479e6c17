"""Which files of a repository are a model, and which of its models is meant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

PREFERRED = ("Q4_K_M", "Q8_0")
"""Where no quant is named: the first of these that there is, else the first model."""

_PROJECTORS = ("F16", "BF16", "Q8_0", "F32")
"""The projectors' quants, best first."""

_DYNAMIC = "UD-"
"""Begins the names of quants in which important layers are stored finer."""

_SPLIT = re.compile(r"(?P<stem>.+)-(?P<part>\d{5})-of-(?P<count>\d{5})", re.ASCII)
_QUANT = re.compile(
    r"(?<![A-Za-z0-9])"
    r"((?:UD-)?(?:I?Q[1-9][0-9]?(?:_(?:K|NL|XXS|XS|S|M|L|XL|XXL|[0-9]))*"
    r"|TQ[12]_0|MXFP4(?:_MOE)?|NVFP4|BF16|F16|F32|FP16|FP32|FP8))"
    r"(?![A-Za-z0-9])",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class RepoModel:
    """One model among the files of a repository."""

    stem: str
    """The name of its file, without part and ending."""
    quant: str
    """Such as Q4_K_M, in capitals; the stem where no name tells one."""
    files: tuple[str, ...]
    """Their paths in the repository; of a split model, the parts that there are, in order."""
    num_missing: int
    """Parts that a split model lacks."""


def find_models(paths: Iterable[str]) -> tuple[RepoModel, ...]:
    """The models among the files of a repository, by name. Projectors and importance matrices,
    which are GGUF files as well, are none.
    """
    groups: dict[tuple[str, int], list[str]] = {}
    for path in sorted(paths):
        if not path.lower().endswith(".gguf") or _is_projector(path) or "imatrix" in path.lower():
            continue
        split = _SPLIT.fullmatch(path[: -len(".gguf")])
        # A name of part 3 of 2, or 0 of 5, is a name as any other.
        if split is not None and 1 <= int(split["part"]) <= int(split["count"]):
            groups.setdefault((split["stem"], int(split["count"])), []).append(path)
        else:
            groups.setdefault((path[: -len(".gguf")], 1), []).append(path)
    return tuple(
        RepoModel(PurePosixPath(stem).name, _quant_of(stem), tuple(files), count - len(files))
        for (stem, count), files in groups.items()
    )


def find_projector(paths: Iterable[str], model: RepoModel) -> str | None:
    """The file with which a model sees or hears; None where the repository has none."""
    found = sorted(filter(_is_projector, paths))
    beside = [path for path in found if _folder(path) == _folder(model.files[0])]
    found = beside or found
    for quant in _PROJECTORS:
        for path in found:
            if _quant_of(path.removesuffix(".gguf")) == quant:
                return path
    return found[0] if found else None


def matching(models: Sequence[RepoModel], wanted: str | None) -> tuple[RepoModel, ...]:
    """The models that `wanted` names: a quant or a file's name without its ending, in capitals or
    not. More than one where several have that quant. With None, what PREFERRED says.
    """
    if wanted is None:
        for quant in PREFERRED:
            if found := matching(models, quant):
                return found
        return tuple(models[:1])
    key = wanted.casefold().removesuffix(".gguf")
    exact = [model for model in models if key in (model.quant.casefold(), model.stem.casefold())]
    if exact:
        return tuple(exact)
    dynamic = f"{_DYNAMIC}{key}".casefold()
    return tuple(model for model in models if model.quant.casefold() == dynamic)


def _folder(path: str) -> PurePosixPath:
    return PurePosixPath(path).parent


def _is_projector(path: str) -> bool:
    name = PurePosixPath(path).name.lower()
    return name.endswith(".gguf") and "mmproj" in name


def _quant_of(stem: str) -> str:
    """As the file's name tells, else the folder's."""
    for part in reversed(PurePosixPath(stem).parts):
        if found := _QUANT.findall(part):
            return str(found[-1]).upper()
    return PurePosixPath(stem).name
