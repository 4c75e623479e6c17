from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hub import LocalHub, sha256

from llmd.errors import (
    HubModelNotFound,
    HubRefused,
    HubUnreachable,
    NotEnoughDisk,
    PullFailed,
)
from llmd.store.download import NUM_RETRIES
from llmd.store.hub import Hub
from llmd.store.hub_cache import CachedRepo
from llmd.store.hub_reference import parse_reference
from llmd.store.pull import pull
from llmd.store.pull_event import (
    Advanced,
    Checking,
    Chosen,
    Damaged,
    Finished,
    HubAway,
    Interrupted,
    PullEvent,
)
from llmd.store.stored_model import StoredModel

DATA = Random(1).randbytes(300_000)
REPO = {"m-Q4_K_M.gguf": DATA, "m-Q8_0.gguf": DATA[::-1], "README.md": b"# m"}


class Puller:
    """Pulls from the local hub, and keeps what it is told and how long it would have slept."""

    def __init__(self, hub: LocalHub) -> None:
        self.hub = hub
        self.events: list[PullEvent] = []
        self.slept: list[float] = []

    def __call__(self, source: str, *, token: str | None = None, **options: Any) -> StoredModel:
        self.events, self.slept = [], []
        reference = parse_reference(source)
        assert reference
        hub = Hub(self.hub.endpoint, token)
        return pull(reference, self.events.append, hub=hub, sleep=self.slept.append, **options)

    def told(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def chosen(self) -> Chosen:
        (event,) = self.told(Chosen)
        assert isinstance(event, Chosen)
        return event


@pytest.fixture
def puller(hub: LocalHub, cache: Path) -> Puller:
    hub.add("org/repo", dict(REPO))
    return Puller(hub)


def partial(cache: Path, data: bytes = DATA) -> Path:
    path = CachedRepo(cache, "org", "repo").blobs / f"{sha256(data)}.incomplete"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def refusal(act: Callable[[], object], error: type[PullFailed]) -> str:
    with pytest.raises(error) as caught:
        act()
    assert type(caught.value) is error
    assert "\n" not in caught.value.message
    return caught.value.message


def test_a_pulled_file_is_where_other_tools_look_for_it(puller: Puller, cache: Path) -> None:
    from huggingface_hub import scan_cache_dir, try_to_load_from_cache

    stored = puller("org/repo")
    assert stored.path.read_bytes() == DATA
    found = try_to_load_from_cache("org/repo", "m-Q4_K_M.gguf", cache_dir=cache)
    assert found == str(stored.path)
    scan = scan_cache_dir(cache)
    assert (scan.size_on_disk, scan.warnings) == (len(DATA), [])
    assert os.readlink(stored.path).startswith("../../blobs/")


def test_a_pull_tells_what_it_chose_and_how_far_it_is(puller: Puller) -> None:
    puller("org/repo")
    assert str(puller.chosen.reference) == "org/repo:Q4_K_M"
    assert (puller.chosen.num_bytes, puller.chosen.num_present) == (len(DATA), 0)
    assert puller.chosen.license == "apache-2.0"
    totals = [event.total_done for event in puller.told(Advanced)]
    assert totals == sorted(totals) and totals[-1] == len(DATA)
    assert puller.events[-1] == Finished("m-Q4_K_M.gguf")


@pytest.mark.parametrize(
    ("card", "tags", "expected"),
    [
        ({"license": "mit"}, [], "mit"),
        ({"license": "other", "license_name": "gemma"}, [], "gemma"),
        ({"license": ["mit", "apache-2.0"]}, [], "mit, apache-2.0"),
        ({}, ["gguf", "license:llama3.2"], "llama3.2"),
        ({}, [], None),
    ],
)
def test_the_license_is_told(
    card: dict[str, Any], tags: list[str], expected: str | None, puller: Puller
) -> None:
    puller.hub.repos["org/repo"].card = card
    puller.hub.repos["org/repo"].tags = tags
    puller("org/repo")
    assert puller.chosen.license == expected


def test_the_named_quant_comes_whatever_its_capitals(puller: Puller) -> None:
    assert puller("hf.co/org/repo:q8_0").path.read_bytes() == DATA[::-1]


def test_the_hubs_own_spelling_names_the_repository(puller: Puller) -> None:
    assert str(puller("ORG/Repo").reference) == "org/repo:Q4_K_M"


def test_a_second_pull_brings_nothing(puller: Puller) -> None:
    puller("org/repo")
    puller("org/repo")
    assert puller.hub.num_sent == len(DATA)
    assert puller.chosen.num_present == len(DATA)
    assert puller.told(Finished) == []


def test_all_parts_and_the_projector_come(puller: Puller) -> None:
    parts = {f"Q5_K_M/m-{part:05}-of-00003.gguf": b"part %d" % part for part in (1, 2, 3)}
    puller.hub.add("org/repo", parts | {"mmproj-F16.gguf": b"it sees"})
    stored = puller("org/repo")
    assert [path.read_bytes() for path in stored.files] == list(parts.values())
    assert stored.projector and stored.projector.read_bytes() == b"it sees"
    assert puller.chosen.projector == "mmproj-F16.gguf"


def test_an_unknown_quant_is_answered_with_those_there_are(puller: Puller) -> None:
    message = refusal(lambda: puller("org/repo:Q5_0"), HubModelNotFound)
    assert message == "org/repo has no Q5_0. Choose one of these: Q4_K_M, Q8_0"


def test_a_quant_of_two_models_asks_for_a_name(puller: Puller) -> None:
    puller.hub.add("org/repo", {"a-Q4_K_M.gguf": b"a", "b-Q4_K_M.gguf": b"b"})
    message = refusal(lambda: puller("org/repo"), HubModelNotFound)
    assert message.endswith("Name one: org/repo:a-Q4_K_M, org/repo:b-Q4_K_M")
    stored = puller("org/repo:b-Q4_K_M")
    assert (stored.path.read_bytes(), str(puller.chosen.reference)) == (b"b", "org/repo:b-Q4_K_M")


def test_a_repository_without_gguf_files_says_where_to_look(puller: Puller) -> None:
    puller.hub.add("org/repo", {"model.safetensors": b"x"})
    message = refusal(lambda: puller("org/repo"), HubModelNotFound)
    assert message.startswith("org/repo has no GGUF file.") and message.endswith("end in -GGUF.")


def test_a_split_model_that_the_hub_has_not_whole_is_not_begun(puller: Puller) -> None:
    puller.hub.add("org/repo", {"m-Q8_0-00001-of-00002.gguf": b"x"})
    assert "lacks 1 parts" in refusal(lambda: puller("org/repo"), HubModelNotFound)


def test_what_an_earlier_pull_left_does_not_come_again(puller: Puller, cache: Path) -> None:
    partial(cache).write_bytes(DATA[:100_000])
    puller("org/repo")
    assert puller.hub.num_sent == 200_000
    assert puller.chosen.num_present == 100_000
    assert puller.told(Checking) == [Checking("m-Q4_K_M.gguf", 100_000)]
    assert [event.total_done for event in puller.told(Advanced)][0] > 100_000


def test_more_than_there_can_be_is_begun_again(puller: Puller, cache: Path) -> None:
    partial(cache).write_bytes(DATA + b"more")
    assert puller("org/repo").path.read_bytes() == DATA
    assert puller.chosen.num_present == 0


def test_a_transfer_that_breaks_off_goes_on_where_it_was(puller: Puller) -> None:
    puller.hub.lengths = [100_000, 50_000]
    assert puller("org/repo").path.read_bytes() == DATA
    assert puller.hub.num_sent == len(DATA)
    ranges = [request.headers.get("range") for request in puller.hub.asked_for("/cdn/")]
    assert ranges == [None, "bytes=100000-", "bytes=150000-"]
    assert puller.slept == [1.0, 1.0]
    assert [type(event) for event in puller.told(Interrupted)] == [Interrupted] * 2


def test_a_server_without_ranges_does_not_set_the_progress_back(puller: Puller) -> None:
    puller.hub.lengths = [100_000]
    puller.hub.knows_ranges = False
    assert puller("org/repo").path.read_bytes() == DATA
    totals = [event.total_done for event in puller.told(Advanced)]
    assert totals == sorted(totals) and totals[-1] == len(DATA)


def test_a_hub_in_trouble_is_asked_again(puller: Puller) -> None:
    puller.hub.statuses = [503, 500, 429]
    puller("org/repo")
    assert puller.slept == [2.0, 4.0, 8.0]


def test_a_transfer_without_a_byte_is_given_up_after_some_times(
    puller: Puller, cache: Path
) -> None:
    puller.hub.lengths = [1000]
    puller.hub.statuses = [200] + [503] * 99
    message = refusal(lambda: puller("org/repo"), HubUnreachable)
    assert message.endswith("is in trouble (HTTP 503). Try again later.")
    assert len(puller.slept) == 1 + NUM_RETRIES
    assert partial(cache).read_bytes() == DATA[:1000]


def test_a_file_that_comes_damaged_is_removed(puller: Puller, cache: Path) -> None:
    puller.hub.corrupts = True
    message = refusal(lambda: puller("org/repo"), PullFailed)
    assert message.endswith("It was removed; run it again.")
    assert list(partial(cache).parent.iterdir()) == []
    puller.hub.corrupts = False
    assert puller("org/repo").path.read_bytes() == DATA


def test_a_leftover_that_is_not_the_files_start_is_found_out(puller: Puller, cache: Path) -> None:
    partial(cache).write_bytes(b"?" * 1000)
    refusal(lambda: puller("org/repo"), PullFailed)
    assert not partial(cache).exists()


def test_verifying_replaces_what_is_damaged_and_leaves_the_rest(puller: Puller) -> None:
    stored = puller("org/repo")
    puller("org/repo", verify=True)
    assert (puller.told(Damaged), puller.hub.num_sent) == ([], len(DATA))
    blob = stored.path.resolve()
    blob.write_bytes(DATA[:-1] + b"?")
    puller("org/repo")
    assert puller.hub.num_sent == len(DATA), "sizes alone are compared without --verify"
    assert puller("org/repo", verify=True).path.read_bytes() == DATA
    assert puller.told(Damaged) == [Damaged("m-Q4_K_M.gguf")]


def test_a_file_of_another_size_comes_again(puller: Puller) -> None:
    puller("org/repo").path.resolve().write_bytes(DATA[:10])
    assert puller("org/repo").path.read_bytes() == DATA


def test_what_a_listener_raises_ends_the_pull_and_loses_nothing(
    puller: Puller, cache: Path
) -> None:
    class Stop(Exception):
        pass

    def stop_at_a_third(event: PullEvent) -> None:
        if isinstance(event, Advanced) and event.total_done >= 100_000:
            raise Stop

    reference = parse_reference("org/repo")
    assert reference
    with pytest.raises(Stop):
        pull(reference, stop_at_a_third, hub=Hub(puller.hub.endpoint))
    kept = partial(cache).stat().st_size
    assert kept >= 100_000
    puller("org/repo")
    assert puller.chosen.num_present == kept


def test_a_listener_whose_reader_has_gone_is_not_taken_for_a_full_disk(puller: Puller) -> None:
    def print_into_nothing(event: PullEvent) -> None:
        if isinstance(event, Advanced):
            raise BrokenPipeError

    reference = parse_reference("org/repo")
    assert reference
    with pytest.raises(BrokenPipeError):
        pull(reference, print_into_nothing, hub=Hub(puller.hub.endpoint))


def test_the_token_goes_to_the_hub_and_nowhere_else(puller: Puller) -> None:
    puller.hub.repos["org/repo"].token = "secret"
    puller("org/repo", token="secret")
    by_place = {
        place: {request.headers.get("authorization") for request in puller.hub.asked_for(place)}
        for place in ("/api/models/", "/resolve/", "/cdn/")
    }
    bearer = {"Bearer secret"}
    assert by_place == {"/api/models/": bearer, "/resolve/": bearer, "/cdn/": {None}}


def test_a_gated_model_names_the_page_of_its_conditions(puller: Puller) -> None:
    puller.hub.repos["org/repo"].gated = True
    message = refusal(lambda: puller("org/repo"), HubRefused)
    assert f"{puller.hub.endpoint}/org/repo and set HF_TOKEN" in message


@pytest.mark.parametrize(
    ("token", "words"),
    [(None, "set HF_TOKEN if it is private."), ("other", "that your token may read it.")],
)
@pytest.mark.parametrize("name", ["org/repo", "org/absent"])
def test_a_private_or_missing_model(
    name: str, token: str | None, words: str, puller: Puller
) -> None:
    puller.hub.repos["org/repo"].token = "secret"
    message = refusal(lambda: puller(name, token=token), HubModelNotFound)
    assert f"there is no {name} on {puller.hub.endpoint}" in message
    assert message.endswith(words)


def test_a_token_that_is_none_is_said(puller: Puller) -> None:
    message = refusal(lambda: puller("org/repo", token="invalid"), HubRefused)
    assert "does not accept your token. Set HF_TOKEN" in message


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (403, HubRefused, "Set HF_TOKEN."),
        (404, HubModelNotFound, "Check the name"),
        (418, PullFailed, "answered HTTP 418"),
        (429, HubUnreachable, "Wait some minutes"),
        (500, HubUnreachable, "Try again later."),
        (503, HubUnreachable, "Try again later."),
    ],
)
def test_each_status_has_its_cure(
    status: int, error: type[PullFailed], words: str, puller: Puller
) -> None:
    puller.hub.status = status
    assert words in refusal(lambda: puller("org/repo"), error)


@pytest.mark.parametrize(
    "page",
    [
        "<html>Please log in to the network</html>",
        "[]",
        "{}",
        '{"id": 5, "sha": "c0", "siblings": []}',
        '{"id": "org/repo", "sha": "../..", "siblings": []}',
        '{"id": "org/repo", "sha": "c0", "siblings": [{"name": "m.gguf"}]}',
        '{"id": "org/repo", "sha": "c0", "siblings": [{"rfilename": "m.gguf", "size": "7"}]}',
    ],
)
def test_what_does_not_answer_as_a_hub_is_said(page: str, puller: Puller) -> None:
    puller.hub.page = page
    message = refusal(lambda: puller("org/repo"), PullFailed)
    assert message.startswith(f"{puller.hub.endpoint} does not answer as a hub does.")


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1", "http://no-such-host.invalid"])
def test_no_network_is_said_with_the_address(endpoint: str, puller: Puller) -> None:
    puller.hub.endpoint = endpoint
    message = refusal(lambda: puller("org/repo"), HubUnreachable)
    assert message.startswith(f"cannot reach {endpoint}: ")
    assert message.endswith("Check the network connection, and HF_ENDPOINT for a mirror.")


def test_offline_mode_is_named(puller: Puller, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    message = refusal(lambda: puller("org/repo"), HubUnreachable)
    assert message.endswith("Unset HF_HUB_OFFLINE to allow it.")


def test_a_model_that_is_here_is_taken_when_the_hub_is_away(puller: Puller) -> None:
    stored = puller("org/repo")
    puller.hub.status = 503
    assert puller("org/repo") == stored
    (away,) = puller.told(HubAway)
    assert "HTTP 503" in away.reason


@pytest.mark.parametrize("endpoint", ["hub.example", "ftp://hub.example", "https://"])
def test_an_endpoint_that_is_no_address_is_said(endpoint: str, cache: Path) -> None:
    assert "Check HF_ENDPOINT" in refusal(lambda: Hub(endpoint), PullFailed)


@pytest.mark.parametrize("name", ["../../outside.gguf", "/tmp/outside.gguf", "a/../../b-Q8_0.gguf"])
def test_a_hub_cannot_write_outside_its_cache(name: str, puller: Puller) -> None:
    puller.hub.add("org/repo", {name: b"x"})
    assert "cannot be one" in refusal(lambda: puller("org/repo"), PullFailed)


def test_a_mirror_that_lists_no_checksums_is_asked_for_each(puller: Puller) -> None:
    puller.hub.lists_checksums = False
    assert puller("org/repo").path.read_bytes() == DATA
    assert [request.method for request in puller.hub.asked_for("/resolve/")] == ["HEAD", "GET"]


def test_too_small_a_disk_is_said_in_numbers_before_the_first_byte(
    puller: Puller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 0))
    message = refusal(lambda: puller("org/repo"), NotEnoughDisk)
    assert "needs 293 KiB more" in message and "has 0 bytes free" in message
    assert puller.hub.num_sent == 0


def test_a_disk_that_fills_up_meanwhile_is_said(
    puller: Puller, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = partial(cache)
    path.symlink_to("/dev/full")
    assert "is full. Free some space" in refusal(lambda: puller("org/repo"), NotEnoughDisk)


def test_a_cache_that_cannot_be_written_is_named(
    puller: Puller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    message = refusal(lambda: puller("org/repo"), PullFailed)
    assert "Not a directory" in message and message.endswith(
        "set HF_HUB_CACHE to another directory."
    )


def test_a_new_version_takes_the_place_of_the_old_when_it_is_whole(puller: Puller) -> None:
    old = puller("org/repo")
    repo = puller.hub.add("org/repo", {"m-Q4_K_M.gguf": b"new" * 1000})
    repo.commit = "b" * 40
    puller.hub.corrupts = True
    refusal(lambda: puller("org/repo"), PullFailed)
    puller.hub.status = 503
    assert puller("org/repo") == old
    puller.hub.status, puller.hub.corrupts = 0, False
    new = puller("org/repo")
    assert new.path.read_bytes() == b"new" * 1000 and new.snapshot.name == "b" * 40


def test_an_unchanged_file_of_a_new_version_does_not_come_again(puller: Puller) -> None:
    puller("org/repo")
    puller.hub.repos["org/repo"].commit = "b" * 40
    assert puller("org/repo").snapshot.name == "b" * 40
    assert puller.hub.num_sent == len(DATA)
