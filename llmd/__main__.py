"""`python -m llmd` is the `llmd` command."""

from llmd.cli import main

main()
