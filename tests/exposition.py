"""What /metrics says, as Prometheus reads it."""

from __future__ import annotations

import httpx
from prometheus_client.parser import text_string_to_metric_families


class Scrape:
    """All samples of one answer."""

    def __init__(self, client: httpx.Client, **headers: str) -> None:
        answer = client.get("/metrics", headers=headers).raise_for_status()
        self.families = list(text_string_to_metric_families(answer.text))
        self._samples = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in self.families
            for sample in family.samples
        }

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self._samples}

    def value(self, name: str, **labels: str) -> float | None:
        """Of exactly these labels; None where there is no such sample."""
        return self._samples.get((name, tuple(sorted(labels.items()))))

    def labelled(self, name: str) -> list[dict[str, str]]:
        return [dict(labels) for found, labels in self._samples if found == name]
