"""What the commands share that talk to a running daemon."""

from __future__ import annotations

import click

daemon_url = click.option(
    "--url",
    metavar="URL",
    help="The daemon to talk to, in place of LLMD_URL; or unix:///PATH.",
)
