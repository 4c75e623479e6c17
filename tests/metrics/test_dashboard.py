"""configs/grafana.json against what a daemon really tells."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from access_lines import access_lines
from api.raw_client import connected
from exposition import Scrape
from fake_server import fake_serving

DASHBOARD = json.loads((Path(__file__).parents[2] / "configs" / "grafana.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
METRIC = re.compile(r"\b((?:llmd|process)_\w+)(?:\{([^}]*)\})?")


@pytest.fixture(scope="module")
def scrape() -> Iterator[Scrape]:
    """After one request of each kind."""
    with fake_serving() as server, server.live.client() as client, access_lines() as lines:
        client.post("/v1/completions", json={"prompt": "a", "max_tokens": 3}).raise_for_status()
        client.post("/v1/completions", json={"prompt": 3})
        with connected(server.live.port) as leaver:
            leaver.post("/v1/completions", {"prompt": "a", "max_tokens": -1, "stream": True})
            leaver.read_head()
        for _ in range(3):
            lines.next()
        yield Scrape(client)


def expressions() -> list[str]:
    return [target["expr"] for panel in PANELS for target in panel["targets"]]


def test_every_metric_that_it_names_exists_with_its_labels(scrape: Scrape) -> None:
    queries = [each["query"]["query"] for each in DASHBOARD["templating"]["list"][1:]]
    for text in expressions() + queries:
        found = METRIC.findall(text)
        assert found, text
        for name, matchers in found:
            if name.startswith("process_") and sys.platform != "linux":
                continue  # the library tells them of Linux alone
            assert name in scrape.names, f"{name} of {text}"
            labels = set(re.findall(r"(\w+)=", matchers)) - {"job"}
            assert all(labels <= set(each) for each in scrape.labelled(name)), text


def test_what_is_summed_by_is_a_label(scrape: Scrape) -> None:
    for text in expressions():
        ((name, _), *_) = METRIC.findall(text)
        for names in re.findall(r"by \(([^)]*)\)", text):
            wanted = set(re.split(r",\s*", names))
            assert wanted <= set(scrape.labelled(name)[0]), text


def test_legends_name_labels_that_are_there(scrape: Scrape) -> None:
    targets: list[dict[str, Any]] = [target for panel in PANELS for target in panel["targets"]]
    for target in targets:
        ((name, _), *_) = METRIC.findall(target["expr"])
        grouped = re.search(r"by \(([^)]*)\)", target["expr"])
        there = re.split(r",\s*", grouped[1]) if grouped else [*scrape.labelled(name)[0]]
        shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert shown <= {*there, "instance"}, target


def test_every_metric_of_ours_is_on_it(scrape: Scrape) -> None:
    drawn = {name for text in expressions() for name, _ in METRIC.findall(text)}
    bases = {re.sub(r"_(bucket|total)$", "", name) for name in drawn}
    ours = {family.name for family in scrape.families if family.name.startswith("llmd_")}
    assert ours - bases == {"llmd_info"}


def test_panels_do_not_overlap() -> None:
    taken = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert (x, y) not in taken and x < 24, panel["title"]
                taken.add((x, y))


def test_ids_of_panels_are_unique() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
