"""`llmd key`: keys for those who use a daemon."""

from __future__ import annotations

import secrets

import click

from llmd.cli.answer_json import print_json
from llmd.config.api_keys import hash_of, is_key_name
from llmd.config.keys import dotted

PREFIX = "sk-llmd-"
"""Some clients take for a key only what begins with sk-; scanners for leaked keys find the rest."""

NUM_RANDOM_BYTES = 32


@click.group()
def key() -> None:
    """Make keys for those who use a daemon."""


@key.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def new(name: str, as_json: bool) -> None:
    """Make a key for NAME. The key itself is shown once, on stderr, and kept nowhere; what a file
    of keys needs of it goes to stdout: llmd key new alice >> keys.toml
    """
    if not is_key_name(name):
        raise click.BadParameter(
            f"{name!r} is no name for a key. Use up to 64 letters, digits and . _ @ - of them.",
            param_hint="NAME",
        )
    secret = PREFIX + secrets.token_urlsafe(NUM_RANDOM_BYTES)
    if as_json:
        print_json({"name": name, "key": secret, "hash": hash_of(secret)})
        return
    click.echo(f"The key of {name}, shown this once:\n\n    {secret}\n", err=True)
    click.echo(f'[{dotted(("keys", name))}]\nhash = "{hash_of(secret)}"')
