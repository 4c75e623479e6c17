"""Deepen a checkpoint: new layers that change nothing yet, between those it has."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from model import Model, shape_of
from train import optimizers


def grow(state: dict[str, torch.Tensor], after: list[int]) -> Model:
    """Return a model with a fresh layer behind each layer named, its outputs zero.

    A layer whose two outputs are zero hands on what it gets, so the answers stay the same.
    """
    shape = shape_of(state)
    order: list[int | None] = []
    for index in range(shape.layers):
        order += [index, None] if index in after else [index]
    model = Model(replace(shape, layers=len(order)))
    grown = model.state_dict()
    for name in grown:
        if not name.startswith("blocks."):
            grown[name] = state[name]
            continue
        _, place, part = name.split(".", 2)
        old = order[int(place)]
        if old is not None:
            grown[name] = state[f"blocks.{old}.{part}"]
        elif part in ("attn_output.weight", "ffn_down.weight"):
            grown[name].zero_()
    model.load_state_dict(grown)
    return model


def main() -> None:
    """Read a checkpoint and write the deeper one, its optimizers at their beginning."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--after", type=int, nargs="+", required=True, help="layers, from 0")
    args = parser.parse_args()
    torch.manual_seed(7)
    state = torch.load(args.checkpoint, weights_only=True)
    model = grow(state["model"], args.after)
    state["model"] = model.state_dict()
    state["optimizers"] = [optimizer.state_dict() for optimizer in optimizers(model, 0.0, 0.0)]
    torch.save(state, args.out)


if __name__ == "__main__":
    main()
