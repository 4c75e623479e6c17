"""`llmd pull`: a model from a hub to this machine."""

from __future__ import annotations

import click

from llmd.cli.pull_progress import PullProgress, open_progress
from llmd.errors import HubModelNotFound
from llmd.store.hub_reference import HubReference, parse_reference
from llmd.store.stored_model import StoredModel

INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it."""


@click.command()
@click.argument("reference", metavar="REF")
@click.option(
    "--verify",
    is_flag=True,
    help="Read files that are here already as well, and get damaged ones again.",
)
@click.pass_context
def pull(context: click.Context, reference: str, verify: bool) -> None:
    """Get a model from a Hugging Face hub: org/repo[:QUANT], with hf.co/ before it or not.

    Without a QUANT it is Q4_K_M, else Q8_0, else the repository's first. All parts of a split model
    come, and its projector. What is here already does not come again, and a pull that was
    interrupted goes on where it stopped.

    The files go to the cache of huggingface_hub (HF_HUB_CACHE, HF_HOME), which other tools share.
    HF_ENDPOINT names a mirror; HF_TOKEN opens gated and private models.
    """
    progress = open_progress()
    try:
        with progress:
            stored = pull_model(parse(reference), progress, verify=verify)
    except KeyboardInterrupt:
        click.echo(f"llmd: stopped{progress.so_far()}. Run it again to go on from there.", err=True)
        context.exit(INTERRUPTED)
    click.echo(f"{stored.reference} is here. Serve it: llmd serve {stored.reference}")


def pull_model(
    reference: HubReference, progress: PullProgress, *, verify: bool = False
) -> StoredModel:
    """Pull a model with its progress shown. Raises PullFailed and KeyboardInterrupt."""
    # It brings huggingface_hub, which takes a third of a second.
    from llmd.store.pull import pull as pull_from_hub

    return pull_from_hub(reference, progress, verify=verify)


def parse(reference: str) -> HubReference:
    """Raises HubModelNotFound for what can be no model of a hub."""
    parsed = parse_reference(reference)
    if parsed is None:
        raise HubModelNotFound(
            f"{reference} names no model of a hub. Give it as org/repo or org/repo:QUANT."
        )
    return parsed
