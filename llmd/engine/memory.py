"""What memory there is, and what a model takes of it."""

from __future__ import annotations

from dataclasses import dataclass

from llmd.config.memory import AvailableMemory, available_memory
from llmd.config.size_text import size_text
from llmd.errors import NotEnoughMemory
from llmd.llama import library
from llmd.store.memory_need import ContextNeed, MemoryNeed

DEVICE_MARGIN = 2**30
"""Left free on each GPU: drivers and kernels take some memory of their own, and so does whatever
shows a picture. llama.cpp's own fit leaves as much."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What can be had."""

    host: AvailableMemory
    device: int = 0
    """Bytes free on all GPUs together, less their margins; 0 without one."""
    device_shares_host: bool = False
    budget: int | None = None
    """The most that one model may take of host and GPUs together; None is no bound of its own."""

    @classmethod
    def now(cls, budget: int | None = None) -> Memory:
        """As it is at this moment. Any thread."""
        library.initialize()
        gpus = library.gpus()
        return cls(
            available_memory(),
            sum(max(0, gpu.free - DEVICE_MARGIN) for gpu in gpus),
            any(gpu.shares_host for gpu in gpus),
            budget,
        )

    @property
    def host_bytes(self) -> int:
        """What may be taken of the host's memory."""
        return self.host.num_bytes if self.budget is None else min(self.host.num_bytes, self.budget)

    @property
    def reason(self) -> str:
        """What bounds `host_bytes`."""
        if self.host_bytes < self.host.num_bytes:
            return "what --memory-budget leaves for it"
        return self.host.reason

    def holds(self, estimate: MemoryEstimate) -> bool:
        """Whether there is room for all of it but the prompt cache."""
        host = estimate.total if self.device_shares_host else estimate.host
        return (
            host <= self.host_bytes
            and estimate.device <= self.device
            and (self.budget is None or estimate.total <= self.budget)
        )

    def check(self, estimate: MemoryEstimate, *, name: str, flags: str) -> None:
        """Raises NotEnoughMemory, with the numbers, unless it holds all: Linux gives out memory
        that is not there, and ends the process when it is used. `flags` are those to make smaller.
        """
        if self.holds(estimate):
            return
        if estimate.device > self.device:
            raise NotEnoughMemory(
                f"the GPU layers of {name} take {size_text(estimate.device)}, and "
                f"{size_text(self.device)} of GPU memory are to be had. Set --gpu-layers to auto, "
                f"or to fewer."
            )
        cure = f"Set a smaller {flags}, or free memory."
        if estimate.weights + estimate.other > self.host_bytes:
            cure = "Use a smaller quantization, or free memory."
        raise NotEnoughMemory(
            f"{name} takes {size_text(estimate.total)} ({estimate}), and only "
            f"{size_text(self.host_bytes)} of memory is free ({self.reason}). {cure}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryEstimate:
    """Bytes that a model takes when it runs as planned. `total` is there from the start; the prompt
    cache fills over time, up to `prompt_cache`, and is no part of it.
    """

    weights: int
    cache: int
    """Attention cache and recurrent states."""
    compute: int
    """Buffers of a step, and the rows of logits."""
    other: int
    """The vocabulary."""
    prompt_cache: int
    device: int
    """Of the total, what lies on GPUs."""
    device_weights: int
    device_cache: int

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.compute + self.other

    @property
    def host(self) -> int:
        return self.total - self.device

    @property
    def host_context(self) -> int:
        """Of the total, what the context takes on the host."""
        return self.host - (self.weights - self.device_weights) - self.other

    def __str__(self) -> str:
        parts = (
            ("weights", self.weights),
            ("KV cache", self.cache),
            ("buffers", self.compute + self.other),
        )
        return ", ".join(f"{name} {size_text(size)}" for name, size in parts if size)

    @classmethod
    def of(
        cls, need: MemoryNeed, context: ContextNeed, num_gpu_layers: int, prompt_cache: int = 0
    ) -> MemoryEstimate:
        """With the last `num_gpu_layers` on GPUs; the output counts as one behind the last."""
        # llama-model.cpp load_tensors: i_gpu_start
        start = len(need.layers) if not num_gpu_layers else len(need.layers) + 1 - num_gpu_layers
        start = max(0, start)
        device_weights = sum(layer.weight_bytes for layer in need.layers[start:])
        device_cache = sum(context.layers[start:])
        weights, compute, device = need.weight_bytes, context.compute + context.output, 0
        if num_gpu_layers:
            device_weights += need.output_bytes
            # An embedding that serves as output too is there twice, and so are the masks.
            weights += need.shared_output_bytes
            compute += context.inputs
            device = device_weights + device_cache + context.compute - context.graph
        return cls(
            weights=weights,
            cache=context.cache,
            compute=compute,
            other=need.vocabulary_bytes,
            prompt_cache=prompt_cache,
            device=device,
            device_weights=device_weights,
            device_cache=device_cache,
        )
