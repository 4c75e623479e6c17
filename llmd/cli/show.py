"""`llmd show`: what a model's file says of it, without loading the model."""

from __future__ import annotations

from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Any

import click

from llmd.chat.prompt.abilities import TemplateAbilities
from llmd.chat.prompt.normalizer import MessageNormalizer
from llmd.cli.answer_json import print_json
from llmd.cli.chat_source import model_settings, open_model, open_template
from llmd.config.settings import ModelSettings
from llmd.config.size_text import size_text
from llmd.core.embedding import Pooling
from llmd.errors import InvalidModelFile
from llmd.store.memory_need import ContextShape, MemoryNeed
from llmd.store.model_file import ModelFile

_CONTEXTS = (4096, 8192, 32768)
_COUNTS = ((10**9, "B"), (10**6, "M"), (10**3, "K"))


@click.command()
@click.argument("model")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The configuration file, in place of the first llmd.toml found.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(model: str, config: Path | None, as_json: bool) -> None:
    """Show what MODEL is and what its chat template can do. MODEL is the path of a .gguf file,
    a pulled model, tiny, or the name of a [models.NAME] section.

    Only the header of the file is read.
    """
    settings = model_settings(model, config)
    file = open_model(settings)
    described = _describe(file) | {"memory": _describe_memory(file, settings)}
    if file.pooling is None:
        described["chat"] = _describe_chat(file, settings.chat_template)
    if as_json:
        print_json(described)
        return
    rows = {label: text for label, text in _rows(described).items() if text}
    width = max(map(len, rows))
    for label, text in rows.items():
        click.echo(f"{label:{width}}  {text}")


def _describe(file: ModelFile) -> dict[str, Any]:
    special = file.special_tokens()
    return {
        "name": file.name,
        "path": str(file.path),
        "num_parts": file.num_parts,
        "num_bytes": file.num_bytes,
        "architecture": file.architecture,
        "num_parameters": file.num_parameters,
        "quantization": file.quantization,
        "tensor_types": dict(file.tensor_types.most_common()),
        "context_length": file.context_length,
        "num_layers": file.num_layers,
        "embedding_length": file.embedding_length,
        "pooling": file.pooling.value if file.pooling else None,
        "vocabulary": {"kind": file.tokenizer, "num_tokens": file.num_tokens},
        "special_tokens": {"bos": special.bos, "eos": special.eos, "ends": sorted(special.ends)},
        "license": file.license,
        "sampling": file.sampling,
        "templates": (["default"] if file.chat_template else []) + sorted(file.named_templates),
    }


def _describe_memory(file: ModelFile, settings: ModelSettings) -> list[dict[str, int]]:
    """What one conversation of a given length takes, with the weights."""
    need = MemoryNeed.of(file)
    trained = file.context_length or 0
    lengths = [length for length in _CONTEXTS if length < trained]
    return [
        {"context": length, "num_bytes": need.total_bytes(_shape(length, file, settings))}
        for length in (*lengths, trained)
        if length
    ]


def _shape(context: int, file: ModelFile, settings: ModelSettings) -> ContextShape:
    return ContextShape(
        num_cells=context,
        num_sequences=1,
        max_rows=context if file.looks_ahead else 1,
        ubatch_size=context if file.looks_ahead else settings.ubatch_size,
        cache_type_k=settings.cache_type_k,
        cache_type_v=settings.cache_type_v,
        flash_attention=settings.flash_attn != "off",
        window_is_full=settings.swa_full,
        embeds=file.pooling is not None,
    )


def _describe_chat(file: ModelFile, template_file: Path | None) -> dict[str, Any]:
    if template_file is not None:
        origin = str(template_file)
    else:
        origin = "the model's" if file.chat_template else "none in the file, so ChatML"
    try:
        opened = open_template(file, template_file)
    except InvalidModelFile as error:
        return {"template": origin, "fault": error.message}
    abilities = asdict(MessageNormalizer(opened.template).abilities)
    if abilities["call_shape"] is not None:
        abilities["call_shape"] = {
            name: value.value if isinstance(value, Enum) else value
            for name, value in abilities["call_shape"].items()
        }
    return {
        "template": origin,
        "format": dict(opened.find_format().describe()),
        "abilities": abilities,
    }


def _rows(described: dict[str, Any]) -> dict[str, str]:
    """What a person wants to know, by label; empty where the file does not say."""
    parts, vocabulary = described["num_parts"], described["vocabulary"]
    context, layers = described["context_length"], described["num_layers"]
    rows: dict[str, str] = {
        "name": described["name"] or "",
        "file": described["path"] + (f" and {parts - 1} more" if parts > 1 else ""),
        "size": size_text(described["num_bytes"]),
        "architecture": described["architecture"],
        "parameters": _count_text(described["num_parameters"]),
        "quantization": described["quantization"],
        "context": f"{context} tokens" if context else "",
        "memory": ", ".join(
            f"{size_text(each['num_bytes'])} at {each['context']}" for each in described["memory"]
        ),
        "layers": f"{layers}, {described['embedding_length']} wide" if layers else "",
        "vocabulary": f"{vocabulary['num_tokens']} tokens, {vocabulary['kind']}",
        "end tokens": " ".join(described["special_tokens"]["ends"]),
        "licence": described["license"] or "",
        "sampling": ", ".join(f"{name} {value:g}" for name, value in described["sampling"].items()),
    }
    if "chat" not in described:
        does = "ranks" if described["pooling"] == Pooling.RANK.value else "embeds"
        return rows | {"pooling": f"{described['pooling']}: it {does} texts and writes none"}
    chat = described["chat"]
    others = [name for name in described["templates"] if name != "default"]
    rows["template"] = chat["template"] + (f"; also {', '.join(others)}" if others else "")
    if "fault" in chat:
        rows["fault"] = chat["fault"]
    else:
        rows.update(chat["format"])
        rows.update(_ability_rows(chat["abilities"]))
    return rows


def _ability_rows(abilities: dict[str, Any]) -> dict[str, str]:
    """Which conversations the template writes in full, and which are altered for it."""
    names = [field for field in TemplateAbilities.__dataclass_fields__ if field != "call_shape"]
    spelled = {name: name.replace("_", " ") for name in names}
    return {
        "accepts": ", ".join(spelled[name] for name in names if abilities[name]),
        "repaired": ", ".join(spelled[name] for name in names if not abilities[name]),
    }


def _count_text(number: int) -> str:
    """Such as 1.7B, with two or three digits."""
    for size, unit in _COUNTS:
        if number >= size:
            amount = number / size
            return f"{amount:.0f}{unit}" if amount >= 100 else f"{amount:.1f}{unit}"
    return str(number)
