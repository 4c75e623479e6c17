"""Train the float model in several one-thread processes; resumes from its last checkpoint."""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from batches import Batches
from guides import DUTIES, HEADS, attention_loss
from model import Model, Shape, shape_of
from muon import Muon
from tokenizer import Tokenizer
from torch import Tensor
from weights import load_weights

SAVE_SECONDS = 120


def weighted_loss(model: Model, hidden: Tensor, tokens: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted loss summed over the positions that carry weight."""
    where = weights[:, 1:].flatten().nonzero().squeeze(1)
    picked = hidden[:, :-1].flatten(0, 1)[where]
    logits = F.linear(picked, model.token_embd.weight)
    losses = F.cross_entropy(logits, tokens[:, 1:].flatten()[where], reduction="none")
    return (losses * weights[:, 1:].flatten()[where]).sum()


def rate(done: float, warmup: float, decay: float) -> float:
    """Return the share of the peak learning rate: warm-up, level, then linear decay."""
    if done < warmup:
        return max(done, 1e-3) / warmup
    return max(0.02, min(1.0, (1.0 - done) / decay))


def optimizers(model: Model, muon: float, adam: float) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices within layers and AdamW for all other weights."""
    named = list(model.named_parameters())
    matrices = [weight for name, weight in named if weight.dim() == 2 and "embd" not in name]
    others = [weight for name, weight in named if weight.dim() != 2 or "embd" in name]
    return [
        Muon(matrices, muon),
        torch.optim.AdamW(others, adam, betas=(0.9, 0.98), weight_decay=0.0),
    ]


class Trainer:
    """One process of the training; all hold the same weights and share the work of a step."""

    def __init__(self, args: argparse.Namespace, rank: int, drawn: Synchronized) -> None:
        self.args, self.rank, self.drawn = args, rank, drawn
        tokenizer = Tokenizer.load(args.vocabulary)
        torch.manual_seed(args.seed)
        saved = None
        if args.checkpoint.exists():
            saved = torch.load(args.checkpoint, weights_only=True)
        shape = Shape(vocabulary=len(tokenizer.tokens))
        self.model = Model(shape_of(saved["model"]) if saved else shape)
        self.optimizers = optimizers(self.model, args.muon, args.adam)
        self.spent, self.seen, self.steps = 0.0, 0, 0
        self.missed, self.places = torch.zeros(len(DUTIES)), torch.zeros(len(DUTIES))
        if saved:
            self.load(saved)
        elif args.weights is not None:
            load_weights(self.model, args.weights)
        self.hidden = torch.compile(self.model.hidden, dynamic=True)
        seed = args.seed + 1_000_003 * rank + self.steps
        self.batches = iter(
            Batches(
                tokenizer,
                seed,
                args.micro,
                args.longest,
                args.drills,
                args.copying,
                args.choices,
            )
        )

    def load(self, state: dict[str, Any]) -> None:
        """Take up the last checkpoint."""
        self.model.load_state_dict(state["model"])
        for optimizer, part in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(part)
        self.spent, self.seen, self.steps = state["spent"], state["seen"], state["step"]
        if self.args.fresh_schedule:
            self.spent = 0.0

    def store(self, spent: float) -> None:
        """Write everything that resuming needs, in one move."""
        draft = self.args.checkpoint.with_suffix(".part")
        torch.save(
            {
                "model": self.model.state_dict(),
                "spent": spent,
                "seen": self.seen,
                "step": self.steps,
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            },
            draft,
        )
        draft.replace(self.args.checkpoint)

    def gather(self, goal: int, done: float) -> tuple[float, float, float]:
        """Add up gradients until all processes together have drawn `goal` tokens.

        Returns the loss per weight, the tokens of this step, and how much of the schedule is done
        by the clock of the first process.
        """
        for group in (group for o in self.optimizers for group in o.param_groups):
            for weight in group["params"]:
                weight.grad = torch.zeros_like(weight)
        loss_sum, norm, count = 0.0, 0.0, 0
        while count == 0 or self.drawn.value < goal:
            tokens, weights, *guides = next(self.batches)
            last, looks = self.hidden(tokens, HEADS)
            loss = weighted_loss(self.model, last, tokens, weights)
            strayed = self.strayed(guides, looks)
            (loss + self.args.guides * strayed).backward()
            loss_sum += loss.item()
            norm += weights[:, 1:].sum().item()
            count += tokens.numel()
            with self.drawn.get_lock():
                self.drawn.value += tokens.numel()
        grads = [weight.grad for weight in self.model.parameters()]
        facts = torch.tensor([loss_sum, norm, count, done if self.rank == 0 else 0.0])
        flat = torch.cat([grad.flatten() for grad in grads] + [facts])
        dist.all_reduce(flat)
        loss_sum, norm, total, done = flat[-4:].tolist()
        parts = flat[:-4].div_(norm).split([grad.numel() for grad in grads])
        for grad, part in zip(grads, parts, strict=True):
            grad.copy_(part.view_as(grad))
        return loss_sum / norm, total, done

    def strayed(self, guides: list[Tensor], looks: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Return the weighted loss of guided heads that look elsewhere."""
        loss = torch.zeros(())
        for duty, ((kind, weight), (q, k)) in enumerate(zip(DUTIES, looks, strict=True)):
            rows, places, targets = guides[3 * kind : 3 * kind + 3]
            if len(rows):
                missed = attention_loss(q, k, rows, places, targets)
                loss = loss + weight * missed
                self.missed[duty] += missed.item()
                self.places[duty] += len(rows)
        return loss

    def run(self) -> None:
        """Train until the schedule ends."""
        args = self.args
        began, last_save, goal = time.monotonic() - self.spent, time.monotonic(), 0
        losses, then, seen_then = 0.0, time.monotonic(), self.seen
        while True:
            goal = max(goal + args.tokens, self.drawn.value)
            loss, count, done = self.gather(goal, (time.monotonic() - began) / (args.minutes * 60))
            for optimizer, peak in zip(self.optimizers, (args.muon, args.adam), strict=True):
                for group in optimizer.param_groups:
                    group["lr"] = peak * rate(done, args.warmup, args.decay)
                optimizer.step()
            self.steps += 1
            self.seen += int(count)
            losses += loss
            now = time.monotonic()
            if self.rank == 0 and self.steps % 50 == 0:
                pace = (self.seen - seen_then) / (now - then)
                guided = (self.missed / self.places.clamp(min=1)).tolist()
                print(
                    f"step {self.steps} done {done:.3f} tokens {self.seen} "
                    f"loss {losses / 50:.4f} "
                    f"guides {' '.join(f'{part:.2f}' for part in guided)} {pace:.0f}/s",
                    flush=True,
                )
                losses, then, seen_then = 0.0, now, self.seen
                self.missed.zero_()
                self.places.zero_()
            over = done >= 1.0
            if self.rank == 0 and (over or now - last_save > SAVE_SECONDS):
                last_save = now
                self.store(now - began)
            if over:
                return


def work(rank: int, args: argparse.Namespace, meeting: str, drawn: Synchronized) -> None:
    """Run one process of the training."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=args.processes
    )
    Trainer(args, rank, drawn).run()
    dist.destroy_process_group()


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vocabulary", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--weights", type=Path, help="begin with those of an exported model")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=70, help="of training, for the schedule")
    parser.add_argument("--warmup", type=float, default=0.02, help="first share of the schedule")
    parser.add_argument("--decay", type=float, default=0.35, help="last share of the schedule")
    parser.add_argument("--tokens", type=int, default=6144, help="in one step")
    parser.add_argument("--micro", type=int, default=1536, help="tokens in one pass")
    parser.add_argument("--longest", type=int, default=640, help="dialogue in tokens")
    parser.add_argument("--drills", type=float, default=0.1, help="share of drills")
    parser.add_argument("--copying", type=float, default=0.0, help="share of mere repetition")
    parser.add_argument("--choices", type=float, default=0.0, help="share of calls in series")
    parser.add_argument("--guides", type=float, default=0.5, help="weight of attention's guides")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--muon", type=float, default=0.02)
    parser.add_argument("--adam", type=float, default=0.003)
    parser.add_argument("--fresh-schedule", action="store_true", help="restart the clock")
    return parser.parse_args()


def main() -> None:
    """Start the processes and wait for them."""
    args = options()
    context = multiprocessing.get_context("spawn")
    drawn = context.Value("q", 0)
    with tempfile.TemporaryDirectory() as folder:
        meeting = str(Path(folder) / "meeting")
        workers = [
            context.Process(target=work, args=(rank, args, meeting, drawn))
            for rank in range(args.processes)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()


if __name__ == "__main__":
    main()
