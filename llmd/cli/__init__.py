"""The `llmd` command. Its help must stay quick, so a command's module is imported when it runs."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from llmd import __version__
from llmd.errors import LlmdError

# Name: (what `llmd --help` says, module, the command in it).
COMMANDS = {
    "serve": ("Serve a model over HTTP.", "llmd.cli.serve", "serve"),
    "show": ("Show what a model's file says of it.", "llmd.cli.show", "show"),
    "template": ("See what a chat template makes of messages.", "llmd.cli.template", "template"),
}


class LazyGroup(click.Group):
    """Knows its commands by COMMANDS alone; an LlmdError becomes one line and exit code 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        _, module, name = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, row[0]) for name, row in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LlmdError as error:
            if ctx.params["debug"]:
                raise
            click.echo(f"llmd: {error.message}", err=True)
            ctx.exit(1)


@click.group(cls=LazyGroup)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(__version__, prog_name="llmd", message="%(prog)s %(version)s")
def main(debug: bool) -> None:
    """The daemon that serves quantized GGUF models over the OpenAI API."""
