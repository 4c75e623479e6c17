"""llama-server's `samplers` field: which steps there are between the logits and a token."""

from __future__ import annotations

from typing import Any

# The names and characters of common/sampling.cpp, and what each does where it is not there. The
# temperature of a model is none of a list without it, so it becomes 1 and not greedy.
_SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "penalties": (
        "e",
        {"repeat_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0},
    ),
    "dry": ("d", {"dry_multiplier": 0.0}),
    "top_n_sigma": ("s", {"top_n_sigma": -1.0}),
    "top_k": ("k", {"top_k": 0}),
    "typ_p": ("y", {"typical_p": 1.0}),
    "top_p": ("p", {"top_p": 1.0}),
    "min_p": ("m", {"min_p": 0.0}),
    "xtc": ("x", {"xtc_probability": 0.0}),
    "temperature": ("t", {"temperature": 1.0, "dynatemp_range": 0.0}),
    "infill": ("i", {"infill": False}),
}

_OTHER_NAMES = {"typical_p": "typ_p", "typical": "typ_p", "typ": "typ_p", "temp": "temperature",
                "nucleus": "top_p"}  # fmt: skip

DEFAULT_SAMPLERS = tuple(name for name in _SAMPLERS if name != "infill")
"""In the order in which they are applied."""


def only_samplers(wanted: list[str] | str) -> dict[str, Any]:
    """The overrides that leave out every sampler but the wanted ones: their names, or one text of
    their characters. Names that are not known are ignored, as llama-server does; the order is
    always that of DEFAULT_SAMPLERS, with `infill` last.
    """
    if isinstance(wanted, str):
        names = {name for name, (character, _) in _SAMPLERS.items() if character in wanted}
    else:
        spelled = [name.lower().replace("-", "_") for name in wanted]
        names = {_OTHER_NAMES.get(name, name) for name in spelled}
    overrides = {
        field: value
        for name, (_, neutral) in _SAMPLERS.items()
        if name not in names
        for field, value in neutral.items()
    }
    return overrides | ({"infill": True} if "infill" in names else {})
