"""What fits into memory, and what gives way where it turns out that it does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from llmd.config.settings import ModelSettings
from llmd.config.size_text import size_text
from llmd.engine.memory import Memory, MemoryEstimate
from llmd.llama import library
from llmd.llama.context import ContextParams, MemoryTraits, count_native_ids
from llmd.llama.model import LlamaModel
from llmd.store.memory_need import ContextShape, MemoryNeed
from llmd.store.model_file import ModelFile

MIN_CELLS = 4096
"""What shrinking leaves of a context that nobody set: agents' first prompts are larger than
anything below, so that a model with less would only seem to work."""

CELLS_STEP = 256
"""llama.cpp rounds pools up to it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of what a plan may choose, where more turned out not to work; None is none."""

    num_cells: int | None = None
    num_gpu_layers: int | None = None

    def open_layers(self, num_gpu_layers: int, settings: ModelSettings) -> int | None:
        """Of a plan within these limits, the GPU layers that may become fewer, or are bounded."""
        if settings.gpu_layers != "auto":
            return None
        return num_gpu_layers or self.num_gpu_layers

    def __str__(self) -> str:
        layers = "" if self.num_gpu_layers is None else f"{self.num_gpu_layers} GPU layers"
        cells = "" if self.num_cells is None else f"a KV pool of {self.num_cells} tokens"
        return " and ".join(filter(None, (cells, layers))) or "no limits"


NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class NativeFacts:
    """What llama.cpp knows of a loaded model. Of an architecture that is newer than this llmd its
    file's header does not tell it.
    """

    is_recurrent: bool
    has_recurrent_state: bool
    window_length: int
    looks_ahead: bool

    @classmethod
    def of(cls, model: LlamaModel, *, looks_ahead: bool) -> NativeFacts:
        return cls(model.is_recurrent, model.has_recurrent_state, model.window_length, looks_ahead)

    @classmethod
    def stated(cls, file: ModelFile) -> NativeFacts:
        """As far as the header tells."""
        need = MemoryNeed.of(file)
        return cls(
            need.is_recurrent, need.has_recurrent_state, need.window_length, file.looks_ahead
        )

    def applied_to(self, need: MemoryNeed) -> MemoryNeed:
        return replace(
            need,
            is_recurrent=self.is_recurrent,
            has_recurrent_state=self.has_recurrent_state,
            window_length=self.window_length,
        )


def shrink(
    *, num_cells: int | None, min_cells: int, num_gpu_layers: int | None, num_layers: int
) -> Limits | None:
    """What to try after a plan of this size failed: half the pool, which takes the context along
    once it is below it, down to `min_cells`; then an eighth of the layers back on the CPU, with a
    pool as it comes. What is None was set by hand and stays. None where nothing is left to give.
    """
    if num_cells is not None and num_cells > min_cells:
        return Limits(max(min_cells, _rounded_up(num_cells // 2)), num_gpu_layers)
    if num_gpu_layers:
        return Limits(None, max(0, num_gpu_layers - max(1, num_layers // 8)))
    return None


def shape_of(need: MemoryNeed, params: ContextParams) -> ContextShape:
    """What llama.cpp will be asked for."""
    return ContextShape(
        num_cells=params.num_cells,
        num_sequences=count_native_ids(need, params),
        max_rows=params.max_rows,
        ubatch_size=params.ubatch_size,
        cache_type_k=params.cache_type_k,
        cache_type_v=params.cache_type_v,
        flash_attention=params.flash_attention != "off",
        window_is_full=MemoryTraits.of(need, swa_full=params.swa_full).has_twins,
    )


def choose_gpu_layers(need: MemoryNeed, shape: ContextShape, free_device: int) -> int:
    """How many layers, counted from the last and with the output as one more, have room on GPUs
    together with their part of the context: 0 to all of them.
    """
    context = need.of_context(shape)
    for num_layers in range(len(need.layers) + 1, 0, -1):
        if MemoryEstimate.of(need, context, num_layers).device <= free_device:
            return num_layers
    return 0


def place_layers(
    need: MemoryNeed, shape: ContextShape, settings: ModelSettings, memory: Memory, limits: Limits
) -> tuple[int, str]:
    """How many layers go to GPUs, and why. `shape` is the least that the context may be."""
    most = len(need.layers) + 1
    if not library.supports_gpu():
        return 0, "this build of llama-cpp-python is for the CPU"
    if not memory.device:
        return 0, "no GPU with free memory was found"
    if settings.gpu_layers != "auto":
        return min(settings.gpu_layers, most), f"as set, of {most}"
    found = choose_gpu_layers(need, shape, memory.device)
    if limits.num_gpu_layers is not None and limits.num_gpu_layers < found:
        return limits.num_gpu_layers, f"of {most}, as it did not run with more"
    free = f"{size_text(memory.device)} of GPU memory"
    return found, f"all, in {free}" if found == most else f"of {most}, as {free} allow"


def most_cells(fits: Callable[[int], bool], upper: int) -> int:
    """The largest pool up to `upper` that fits, in whole steps; one step where none does."""
    low, high = 1, max(1, _rounded_up(upper) // CELLS_STEP)
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle * CELLS_STEP):
            low = middle
        else:
            high = middle - 1
    return low * CELLS_STEP


def _rounded_up(num_cells: int) -> int:
    return -(-num_cells // CELLS_STEP) * CELLS_STEP
