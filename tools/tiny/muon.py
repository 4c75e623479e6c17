"""Muon: momentum whose updates are made orthogonal, shared out among the training processes."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def orthogonal(gradient: Tensor) -> Tensor:
    """Return the gradient made nearly orthogonal by five Newton-Schulz steps."""
    x = gradient / (gradient.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(5):
        gram = x @ x.T
        x = torch.addmm(
            x, torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315), x, beta=3.4445
        )
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Orthogonal momentum for matrices; each process works out its share of the updates."""

    def __init__(self, params: list[torch.nn.Parameter], lr: float) -> None:
        super().__init__(params, {"lr": lr, "momentum": 0.95})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Apply one update, the same in every process."""
        rank, processes = dist.get_rank(), dist.get_world_size()
        for group in self.param_groups:
            updates: list[Tensor] = []
            for index, weight in enumerate(group["params"]):
                state = self.state[weight]
                if "buffer" not in state:
                    state["buffer"] = torch.zeros_like(weight)
                buffer = state["buffer"].mul_(group["momentum"]).add_(weight.grad)
                if index % processes == rank:
                    updates.append(orthogonal(weight.grad.add(buffer, alpha=group["momentum"])))
                else:
                    updates.append(torch.zeros_like(weight))
            flat = torch.cat([update.flatten() for update in updates])
            dist.all_reduce(flat)
            parts = flat.split([update.numel() for update in updates])
            for weight, part in zip(group["params"], parts, strict=True):
                scale = max(1.0, weight.shape[0] / weight.shape[1]) ** 0.5
                weight.mul_(1 - group["lr"] * 0.05)
                weight.add_(part.view_as(weight), alpha=-group["lr"] * scale)
