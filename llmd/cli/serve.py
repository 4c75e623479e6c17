"""`llmd serve`. Its options are the keys of [server] and [model], each under its own name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import click
from pydantic import SecretStr, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from llmd.config.byte_size import ByteSize
from llmd.config.duration import Duration
from llmd.config.keys import allowed, flag, is_secret, known_keys
from llmd.config.load import load
from llmd.store.locate import name_of

_METAVARS = {
    int: "N",
    float: "SECONDS",
    str: "TEXT",
    SecretStr: "KEY",
    Path: "PATH",
    ByteSize: "SIZE",
    Duration: "TIME",
}


def setting_options() -> Iterator[click.Option]:
    """An option for every key but MODEL itself and the sampling defaults, which are too many."""
    for key, field in known_keys().items():
        if len(key) > 2 or key == ("model", "source"):
            continue
        text, spelling = str(field.description), flag(key)
        # No default for click: an option not given lets the file and the environment show through.
        attributes: dict[str, Any] = {"default": None}
        if field.annotation in (bool, bool | None):
            spelling = f"{spelling}/--no-{spelling[2:]}"
        else:
            metavar = "MILLISECONDS" if key[-1].endswith("_ms") else _metavar(field.annotation)
            attributes |= {"callback": _check(field), "metavar": metavar}
            if get_origin(field.annotation) is tuple:
                attributes["multiple"] = True
                text += f"  [{', '.join(field.default)}]" if field.default else ""
            else:
                text += f"  [{field.default}]" if field.default not in (None, "") else ""
        yield click.Option([spelling, "__".join(key)], help=text, **attributes)


def _check(field: FieldInfo) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    """Holds a value to the setting's own type and bounds."""
    # Annotated with a type that is known only here, which mypy has no way to say.
    annotated: Any = Annotated[field.annotation, field]
    adapter: TypeAdapter[Any] = TypeAdapter(annotated)

    def check(_ctx: click.Context, _param: click.Parameter, value: Any) -> Any:
        if value is None or value == ():
            return None
        try:
            return adapter.validate_python(value)
        except ValidationError:
            told = "this" if is_secret(field) else repr(value)
            raise click.BadParameter(f"{told} is not {allowed(field)}.") from None

    return check


def _metavar(annotation: Any) -> str:
    origin, members = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return "|".join(members)
    if origin in (Annotated, tuple):
        return _metavar(members[0])
    if members:
        return "|".join(_metavar(member) for member in members if member is not type(None))
    return _METAVARS[annotation]


def _serve(models: tuple[str, ...], config: Path | None, **settings: Any) -> None:
    flags = {
        name.replace("__", "."): value for name, value in settings.items() if value is not None
    }
    loaded = load(flags, config, os.environ, Path.cwd(), models, name_of)
    # Ctrl-C is how a daemon in a terminal is meant to end.
    with suppress(KeyboardInterrupt):
        # It brings the native library and the web stack, which --help has no use for.
        from llmd.daemon.server import run

        run(loaded)


serve = click.Command(
    "serve",
    callback=_serve,
    help="""Serve MODEL over HTTP: the path of a .gguf file, a pulled model (org/repo:QUANT), the
    name of a [models.NAME] section, or tiny, the bundled model.

    Every option is also a key of llmd.toml and an LLMD_SECTION__KEY variable; an option wins over
    the variable, and that over the file. Defaults stand in brackets.""",
    params=[
        click.Argument(["models"], nargs=-1, metavar="[MODEL]..."),
        click.Option(
            ["--config"],
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="The configuration file, in place of the first llmd.toml found.",
        ),
        *setting_options(),
    ],
)
