"""The models of a repository that are on this machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llmd.store.hub_cache import CachedRepo, files_in
from llmd.store.hub_reference import HubReference
from llmd.store.quantization import RepoModel, find_models, find_projector, matching


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model of a hub in the cache. Immutable; its files may go at any time."""

    reference: HubReference
    """With its quant; with its file's name for a quant where several files have the same."""
    model: RepoModel
    path: Path
    """The file to load; of a split model, the first part that is here."""
    files: tuple[Path, ...]
    projector: Path | None
    snapshot: Path
    fault: str | None
    """What it lacks, such as parts; None for a whole one."""

    @property
    def num_bytes(self) -> int:
        """Of its files and its projector."""
        return sum(_size(path) for path in (*self.files, self.projector) if path is not None)

    @property
    def modified(self) -> float:
        """When its youngest file was downloaded, as time.time() counts."""
        times = []
        for path in self.files:
            try:
                times.append(path.stat().st_mtime)
            except OSError:
                continue
        return max(times, default=0.0)


def stored_models(repo: CachedRepo) -> tuple[StoredModel, ...]:
    """Each model of a repository once, by quant: as the last pull left it where it is whole there,
    else from the newest snapshot in which it is.
    """
    chosen: dict[tuple[str, str], StoredModel] = {}
    for snapshot in repo.snapshots():
        for stored in _models_in(repo, snapshot):
            key = stored.model.quant, stored.model.stem
            if key not in chosen or (chosen[key].fault and not stored.fault):
                chosen[key] = stored
    named = _named(chosen.values())
    return tuple(sorted(named, key=lambda stored: stored.reference.quant or ""))


def which(models: Sequence[StoredModel], wanted: str | None) -> tuple[StoredModel, ...]:
    """Those that `wanted` means, as with the models of a hub; where it names none, whole ones go
    before others.
    """
    for stored in models:
        if wanted and wanted.casefold() == (stored.reference.quant or "").casefold():
            return (stored,)
    whole = [stored for stored in models if stored.fault is None]
    for some in (whole, models) if wanted is None else (models,):
        found = matching([stored.model for stored in some], wanted)
        if found:
            return tuple(stored for stored in some if stored.model in found)
    return ()


def several(models: Sequence[StoredModel]) -> str:
    """The message for a reference that fits several."""
    choices = ", ".join(str(stored.reference) for stored in models)
    first = models[0].reference
    return f"{first.repo} has {len(models)} models of {models[0].model.quant}. Name one: {choices}"


def _named(models: Iterable[StoredModel]) -> Iterator[StoredModel]:
    """Each with a reference of its own. `models` come in the order of their snapshots: the quant
    means the one of the first snapshot that has it, if that is one.
    """
    by_quant: dict[str, list[StoredModel]] = {}
    for stored in models:
        by_quant.setdefault(stored.model.quant, []).append(stored)
    for group in by_quant.values():
        first = [stored for stored in group if stored.snapshot == group[0].snapshot]
        for stored in group:
            if len(first) > 1 or stored is not first[0]:
                own = replace(stored.reference, quant=stored.model.stem)
                yield replace(stored, reference=own)
            else:
                yield stored


def _models_in(repo: CachedRepo, snapshot: Path) -> list[StoredModel]:
    files = files_in(snapshot)
    models = find_models(files)
    found = []
    for model in models:
        projector = find_projector(files, model)
        paths = tuple(files[name] for name in model.files)
        found.append(
            StoredModel(
                reference=HubReference(repo.owner, repo.name, model.quant),
                model=model,
                path=paths[0],
                files=paths,
                projector=files[projector] if projector else None,
                snapshot=snapshot,
                fault=_fault(model, paths),
            )
        )
    return found


def _fault(model: RepoModel, paths: Sequence[Path]) -> str | None:
    if model.num_missing:
        return f"{len(paths)} of {len(paths) + model.num_missing} parts are here"
    for path in paths:
        if not path.is_file():
            return f"the contents of {path.name} are gone"
    return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
