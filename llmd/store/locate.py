"""From a MODEL to the file to load, without a network."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from llmd.config.model_reference import is_path, resolve, served_id
from llmd.errors import ModelFileNotFound
from llmd.store.hub_cache import find_repo, hub_cache
from llmd.store.hub_reference import HubReference, parse_reference
from llmd.store.stored_model import StoredModel, several, stored_models, which


def locate(source: str) -> Path:
    """The file to load for a MODEL: a path, `tiny`, or a model of a hub that was pulled, by llmd or
    by another tool. Of a split model, the first part. Raises ModelFileNotFound or ModelLoadError.
    """
    reference = reference_of(source)
    return resolve(source) if reference is None else find_stored(reference).path


def name_of(source: str) -> str:
    """The id that clients see of a MODEL that has no other name: `tiny`, or the stem of its file.
    What was not pulled has none, and gets the end of its reference.
    """
    reference = reference_of(source)
    if reference is not None:
        with suppress(ModelFileNotFound):
            return served_id(find_stored(reference).path.name)
    return served_id(source)


def reference_of(source: str) -> HubReference | None:
    """What a MODEL names on a hub; None where it is a path or `tiny`."""
    if is_path(source) or os.path.exists(source):
        return None
    return parse_reference(source)


def find_stored(reference: HubReference) -> StoredModel:
    """The pulled model. Raises ModelFileNotFound for one that is not here, or not whole, and
    where several fit.
    """
    models = stored_models(find_repo(hub_cache(), reference.repo))
    found = which(models, reference.quant)
    if len(found) > 1:
        raise ModelFileNotFound(several(found))
    if found and found[0].fault is None:
        return found[0]
    if found:
        raise ModelFileNotFound(
            f"{found[0].reference} is not whole: {found[0].fault}. Run: llmd pull {reference}"
        )
    here = sorted({model.reference.quant or "" for model in models})
    others = f" (of {models[0].reference.repo} there is {', '.join(here)})" if models else ""
    raise ModelFileNotFound(
        f"{reference} is not on this machine{others}. Run: llmd pull {reference}"
    )
