"""How the models and their engines are, read when somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from llmd.engine.stats import EngineStats
from llmd.registry.instance import ModelInstance, ModelState

Family = CounterMetricFamily | GaugeMetricFamily
Stat = Callable[[EngineStats], float]

_COUNTERS: tuple[tuple[str, str, Stat], ...] = (
    ("llmd_engine_steps", "Steps since the model was loaded.", lambda s: s.num_steps),
    (
        "llmd_engine_step_seconds",
        "Time in steps: its rate is how busy the engine is.",
        lambda s: s.step_seconds,
    ),
    ("llmd_engine_forward_seconds", "Time inside llama.cpp.", lambda s: s.forward_seconds),
    (
        "llmd_engine_prompt_tokens",
        "Tokens of prompts that were computed.",
        lambda s: s.num_prompt_tokens,
    ),
    ("llmd_engine_output_tokens", "Tokens that were drawn.", lambda s: s.num_generated_tokens),
    (
        "llmd_set_backs",
        "Sequences that gave their memory up to others and were taken up again later.",
        lambda s: s.num_set_back,
    ),
    (
        "llmd_prompt_cache_evicted_tokens",
        "Tokens that left the prompt cache in RAM as there was no more room.",
        lambda s: s.num_evicted,
    ),
)

_TIERS: tuple[tuple[str, Stat], ...] = (
    ("live", lambda s: s.num_live_hits),
    ("ram", lambda s: s.num_ram_hits),
    ("disk", lambda s: s.num_disk_hits),
)

_CELLS: tuple[tuple[str, Stat], ...] = (
    ("used", lambda s: s.num_cells - s.num_free_cells - s.num_idle_cells),
    ("idle", lambda s: s.num_idle_cells),
    ("free", lambda s: s.num_free_cells),
)


class ModelCollector(Collector):
    """By model: its state and memory, and where it is loaded its engine's. Event loop only."""

    def __init__(
        self, models: Callable[[], Sequence[ModelInstance]], stuck: Collection[str]
    ) -> None:
        """As Metrics.watch."""
        self._models = models
        self._stuck = stuck

    def collect(self) -> Iterator[Family]:
        models = self._models()
        yield from self._states(models)
        yield from _comings_and_goings(models)
        loaded = [(each.name, each) for each in models if each.usage is not None]
        yield from _load(loaded)
        yield from _engines(
            [(name, each.client.stats) for name, each in loaded if each.client.stats is not None]
        )

    def _states(self, models: Sequence[ModelInstance]) -> Iterator[Family]:
        states = GaugeMetricFamily(
            "llmd_model_state", "1 for the state that a model is in.", labels=["model", "state"]
        )
        stuck = _gauge("llmd_model_stuck", "1 while the model's engine gets no further.")
        memory = GaugeMetricFamily(
            "llmd_model_memory_bytes",
            "What a loaded model is expected to take.",
            labels=["model", "where"],
        )
        for each in models:
            for state in ModelState:
                states.add_metric([each.name, state.value], each.state is state)
            stuck.add_metric([each.name], each.name in self._stuck)
            if each.is_resident:
                memory.add_metric([each.name, "host"], each.footprint.host)
                memory.add_metric([each.name, "device"], each.footprint.device)
        yield from (states, stuck, memory)


def _gauge(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=["model"])


def _counter(name: str, text: str) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, labels=["model"])


def _comings_and_goings(models: Sequence[ModelInstance]) -> Iterator[Family]:
    loads = CounterMetricFamily(
        "llmd_model_loads", "Loads, by how they ended.", labels=["model", "result"]
    )
    seconds = _counter("llmd_model_load_seconds", "Time in loads that did not fail.")
    broken = _counter("llmd_engine_failures", "Engines that broke and were asked for again.")
    evictions = _counter("llmd_model_evictions", "Times that a model made room for others.")
    for each in models:
        counts = each.counts
        loads.add_metric([each.name, "ok"], counts.num_loaded)
        loads.add_metric([each.name, "failed"], counts.num_failed)
        seconds.add_metric([each.name], counts.load_seconds)
        broken.add_metric([each.name], counts.num_broken)
        evictions.add_metric([each.name], counts.num_evicted)
    yield from (loads, seconds, broken, evictions)


def _load(loaded: list[tuple[str, ModelInstance]]) -> Iterator[Family]:
    running = _gauge("llmd_running", "Sequences that the engine works on.")
    waiting = _gauge("llmd_waiting", "Sequences that wait for their turn.")
    for name, each in loaded:
        running.add_metric([name], each.client.num_unfinished - each.client.num_waiting)
        waiting.add_metric([name], each.client.num_waiting)
    yield from (running, waiting)


def _engines(engines: list[tuple[str, EngineStats]]) -> Iterator[Family]:
    for metric, text, stat in _COUNTERS:
        family = _counter(metric, text)
        for name, stats in engines:
            family.add_metric([name], stat(stats))
        yield family
    hits = CounterMetricFamily(
        "llmd_cache_hit_tokens",
        "Tokens of prompts that were not computed, by where their state was.",
        labels=["model", "tier"],
    )
    cells = GaugeMetricFamily(
        "llmd_kv_cells",
        "The KV pool: used by what runs, idle prefixes that can go, and free.",
        labels=["model", "use"],
    )
    parked = _gauge("llmd_prompt_cache_bytes", "Host RAM of prompts outside of the KV pool.")
    for name, stats in engines:
        for tier, stat in _TIERS:
            hits.add_metric([name, tier], stat(stats))
        if stats.num_cells:
            for use, stat in _CELLS:
                cells.add_metric([name, use], stat(stats))
            parked.add_metric([name], stats.num_parked_bytes)
    yield from (hits, cells, parked)
