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
    "run": ("Chat with a model in the terminal.", "llmd.cli.run", "run"),
    "ps": ("List the models of a running daemon.", "llmd.cli.ps", "ps"),
    "load": ("Have a running daemon load a model.", "llmd.cli.load", "load"),
    "unload": ("Have a running daemon unload a model.", "llmd.cli.load", "unload"),
    "reload": ("Have a daemon read its configuration again.", "llmd.cli.load", "reload"),
    "pull": ("Get a model from a hub.", "llmd.cli.pull", "pull"),
    "list": ("List the models that are here.", "llmd.cli.listing", "list_models"),
    "rm": ("Remove a model that was pulled.", "llmd.cli.rm", "rm"),
    "show": ("Show what a model's file says of it.", "llmd.cli.show", "show"),
    "doctor": ("Show what this machine can do, and what fits.", "llmd.cli.doctor", "doctor"),
    "replay": ("Send a recorded request again.", "llmd.cli.replay", "replay"),
    "key": ("Make keys for those who use a daemon.", "llmd.cli.key", "key"),
    "config": ("See and check the settings.", "llmd.cli.config", "config"),
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
