"""Average the weights of two checkpoints of one training."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch


def main() -> None:
    """Write the second checkpoint with the weighted mean of both in the place of its weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("first", type=Path)
    parser.add_argument("first_share", type=float)
    parser.add_argument("second", type=Path)
    parser.add_argument("second_share", type=float)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if abs(args.first_share + args.second_share - 1.0) > 1e-9:
        parser.error("the shares do not add up to 1")
    first, second = (torch.load(path, weights_only=True) for path in (args.first, args.second))
    for name, weight in second["model"].items():
        mean = args.first_share * first["model"][name] + args.second_share * weight
        second["model"][name] = mean.to(weight.dtype)
    torch.save(second, args.out)


if __name__ == "__main__":
    main()
