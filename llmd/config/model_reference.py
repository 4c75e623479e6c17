"""What a MODEL names: a path or the bundled model. Those of a hub: llmd/store/locate.py."""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path

from llmd.errors import ModelFileNotFound, ModelLoadError

BUNDLED = "tiny"

# llama_split_path (llama.cpp src/llama.cpp): counted from 1.
_SPLIT = re.compile(r"(?P<stem>.+)-(?P<part>\d{5})-of-(?P<count>\d{5})\.gguf")
_HUBS = ("hf.co/", "huggingface.co/", "https://", "http://")


def is_path(source: str) -> bool:
    """Whether a MODEL is written as a path, whatever is there."""
    return not source.startswith(_HUBS) and (
        source.lower().endswith(".gguf") or source.startswith(("/", "./", "../", "~"))
    )


def resolve(source: str) -> Path:
    """The file to load for a MODEL that is a path or `tiny`; of a split model, the first part.

    Raises ModelFileNotFound or ModelLoadError. Whether the file is a GGUF shows when it is loaded.
    """
    if source == BUNDLED:
        return _bundled()
    try:
        return _resolve_path(source, Path(os.path.expanduser(source)))
    except OSError as error:
        raise ModelFileNotFound(
            f"cannot reach {source}: {error.strerror}. Check the path and its permissions."
        ) from error


def parts_of(path: Path) -> list[Path]:
    """The files that the model of `path` consists of, by llama.cpp's naming of split models
    (llama.h llama_split_path); `path` alone where it is not split.
    """
    split = _SPLIT.fullmatch(path.name)
    if split is None or not 1 <= int(split["part"]) <= int(split["count"]):
        return [path]
    count = int(split["count"])
    return [
        path.with_name(f"{split['stem']}-{number:05}-of-{count:05}.gguf")
        for number in range(1, count + 1)
    ]


def served_id(source: str) -> str:
    """The id that clients see of a MODEL that has no alias and is no section: `tiny`, or the stem
    of its file.
    """
    name = Path(source).name
    split = _SPLIT.fullmatch(name)
    return split["stem"] if split else re.sub(r"\.gguf$", "", name, flags=re.IGNORECASE)


def _resolve_path(source: str, path: Path) -> Path:
    if path.is_file():
        return _first_part(path)
    if path.is_dir():
        raise ModelLoadError(f"{source} is a directory.{_models_in(path)}")
    raise ModelFileNotFound(f"there is no model file {source}. {_nearest(path)}")


def _bundled() -> Path:
    path = Path(str(files("llmd"))) / "tiny" / "tiny.gguf"
    if not path.is_file():
        raise ModelFileNotFound(
            f"the bundled model is missing from this installation ({path}). Install llmd again, or "
            f"give the path of a .gguf file."
        )
    return path


def _first_part(path: Path) -> Path:
    parts = parts_of(path)
    if path != parts[0]:
        number = parts.index(path) + 1
        raise ModelLoadError(
            f"{path} is part {number} of {len(parts)}. Give the first part: {parts[0]}"
        )
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        raise ModelFileNotFound(
            f"{path} has {len(parts)} parts, and not beside it: {', '.join(missing)}. Download "
            f"the missing ones into {path.parent}"
        )
    return path


def _models_in(directory: Path) -> str:
    names = sorted(path.name for path in directory.glob("*.gguf"))
    if not names:
        return " Give the path of a .gguf file."
    return f" Give a file in it, such as {directory / names[0]}"


def _nearest(path: Path) -> str:
    directory = path.parent
    if not directory.is_dir():
        return f"There is no directory {directory} either; check the path."
    names = [entry.name for entry in directory.iterdir() if entry.is_file()]
    near = get_close_matches(path.name, names, n=1, cutoff=0.6)
    if near:
        return f"Did you mean {directory / near[0]}?"
    return f"Give the path of a .gguf file, or `{BUNDLED}` for the bundled model."
