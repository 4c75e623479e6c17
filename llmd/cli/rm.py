"""`llmd rm`: give the disk space of a model back."""

from __future__ import annotations

import click

from llmd.config.size_text import size_text
from llmd.errors import ModelNotFound
from llmd.store.catalog import remove
from llmd.store.hub_reference import parse_reference


@click.command()
@click.argument("references", nargs=-1, required=True, metavar="REF...")
def rm(references: tuple[str, ...]) -> None:
    """Remove models that were pulled: org/repo:QUANT one of them, org/repo all models of that
    repository, and what an unfinished pull left.

    A daemon that serves the model goes on; the space is free when it has ended.
    """
    for each in references:
        reference = parse_reference(each)
        if reference is None:
            raise ModelNotFound(
                f"{each} names no pulled model. Give it as `llmd list` does, or remove the file of "
                f"a path yourself."
            )
        removed, num_bytes = remove(reference)
        names = ", ".join(map(str, removed)) or reference.repo
        click.echo(f"removed {names}: {size_text(num_bytes)} given back")
