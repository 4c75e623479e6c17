"""A client that goes away stops its own work at once, and nobody else's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from api.raw_client import RawClient, connected, text_of
from fake_server import FakeServer, fake_serving, says

NEIGHBOUR = {"prompt": "neighbour", "max_tokens": 300, "stream": True}
LEAVER = "g" * 60
"""Several steps long: a step takes 16 tokens."""


@contextmanager
def neighbour(server: FakeServer) -> Iterator[RawClient]:
    """A stream that runs beside; at the end of the block its text is what it is alone."""
    with connected(server.live.port) as client:
        client.post("/v1/completions", NEIGHBOUR)
        server.watch.wait("added")
        yield client
        client.read_head()
        assert text_of(b"".join(client.chunks())) == says("neighbour", 300)


def leaving_request(*, stream: bool) -> dict[str, object]:
    return {"prompt": LEAVER, "max_tokens": -1, "stream": stream}


def assert_gone(server: FakeServer) -> None:
    """The engine has forgotten the leaver, and its tokens."""
    server.watch.wait("aborted")
    sequences = server.instance.engine._scheduler.sequences()
    assert all(sequence.tokens[0] != ord("g") for sequence in sequences)


def num_computed(server: FakeServer) -> int:
    """How many of the leaver's tokens the model has computed."""
    items = [item for batch in server.runner.batches for item in batch]
    return max((item.end for item in items if item.sequence.tokens[0] == ord("g")), default=0)


@pytest.mark.parametrize("stream", [True, False])
def test_while_it_is_queued(stream: bool) -> None:
    with fake_serving(num_sequences=1) as server:
        server.runner.hold_next()
        with neighbour(server):
            server.runner.wait_until_held()
            with connected(server.live.port) as leaver:
                leaver.post("/v1/completions", leaving_request(stream=stream))
                server.watch.wait("submitted")
            server.watch.wait("forgotten")
            server.runner.release()
            assert_gone(server)
        assert num_computed(server) == 0


@pytest.mark.parametrize("stream", [True, False])
def test_while_its_prompt_is_computed(stream: bool) -> None:
    with fake_serving() as server:
        server.runner.hold_next()
        with neighbour(server):
            server.runner.wait_until_held()
            with connected(server.live.port) as leaver:
                leaver.post("/v1/completions", leaving_request(stream=stream))
                server.watch.wait("submitted")
                server.runner.release()
                server.watch.wait("added")
                server.runner.hold()
            server.watch.wait("forgotten")
            server.runner.release()
            assert_gone(server)


def test_inside_one_long_step() -> None:
    with fake_serving() as server:
        server.runner.hold_next()
        with connected(server.live.port) as leaver:
            leaver.post("/v1/completions", leaving_request(stream=True))
            server.runner.wait_until_held()
        server.watch.wait("forgotten")
        server.runner.release()
        assert_gone(server)
        assert num_computed(server) == 16, "it was computed on"


def test_while_it_streams() -> None:
    with fake_serving() as server:
        with neighbour(server), connected(server.live.port) as leaver:
            leaver.post("/v1/completions", leaving_request(stream=True))
            assert leaver.read_head()[0] == 200
            assert b"data: " in next(leaver.chunks())
            leaver.close()
            server.watch.wait("forgotten")
            assert_gone(server)


def test_while_it_waits_for_a_whole_answer() -> None:
    with fake_serving() as server:
        with neighbour(server), connected(server.live.port) as leaver:
            leaver.post("/v1/completions", leaving_request(stream=False))
            server.watch.wait("added")
            leaver.close()
            assert_gone(server)


def test_while_the_model_loads() -> None:
    with fake_serving(may_load=False) as server:
        with connected(server.live.port) as leaver:
            leaver.post("/v1/completions", leaving_request(stream=True))
            server.watch.wait("asked")
        server.watch.wait("answered")
        server.instance.may_load.set()
        assert server.live.loaded.wait(10)
        with neighbour(server):
            pass
        assert num_computed(server) == 0


def test_in_the_middle_of_its_own_body(caplog: pytest.LogCaptureFixture) -> None:
    with fake_serving() as server:
        with connected(server.live.port) as leaver:
            leaver.send(
                b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n\r\n{"
            )
        with neighbour(server):
            pass
    assert [record.getMessage() for record in caplog.records if record.levelno >= 40] == []


def test_a_whole_answer_closes_its_request_too() -> None:
    with fake_serving() as server, server.live.client() as client:
        client.post("/v1/completions", json={"prompt": "a", "max_tokens": 3})
        server.watch.wait("forgotten")
