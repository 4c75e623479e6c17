"""All metrics of one daemon."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from prometheus_client import CollectorRegistry, Gauge, Metric, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from llmd import __version__
from llmd.metrics.model_metrics import ModelCollector
from llmd.metrics.request_metrics import RequestMetrics
from llmd.registry.instance import ModelInstance


class Metrics:
    """Its own registry of metrics, so that several daemons of one process have theirs. Event loop
    only.
    """

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        Gauge("llmd_info", "1; its label is the version.", ["version"], registry=registry).labels(
            __version__
        ).set(1)
        self.requests = RequestMetrics(registry)
        ProcessCollector(registry=registry)

    def watch(
        self,
        models: Callable[[], Sequence[ModelInstance]],
        stuck: Collection[str],
        *,
        is_draining: Callable[[], bool],
    ) -> None:
        """Tell of models too: `models` are those that are served, `stuck` the names of those whose
        engines get no further, both as they are when they are asked for.
        """
        self._registry.register(ModelCollector(models, stuck))
        draining = Gauge(
            "llmd_draining", "1 while llmd ends and takes nothing on.", registry=self._registry
        )
        draining.set_function(is_draining)

    def snapshot(self, accept: str) -> tuple[Callable[[], bytes], str]:
        """All of them as they are now: what makes text of them, which takes milliseconds and may be
        called in any thread; and its media type, the one of Prometheus' formats that the Accept
        header asks for.
        """
        encode, media_type = choose_encoder(accept)
        taken = _Snapshot(list(self._registry.collect()))
        return lambda: encode(taken), media_type


class _Snapshot(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families
