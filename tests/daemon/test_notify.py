"""What systemd is told, on real sockets."""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path

import pytest
from supervisor import Supervisor, supervising

from llmd.daemon.notify import Notifier


def notifier(supervisor: Supervisor) -> Notifier:
    return Notifier({"NOTIFY_SOCKET": supervisor.address})


def test_every_notice_is_one_datagram_of_assignments(tmp_path: Path) -> None:
    with supervising(tmp_path) as supervisor:
        told = notifier(supervisor)
        told.ready("serving tiny")
        assert supervisor.take() == {"READY": "1", "STATUS": "serving tiny"}
        told.status("loading tiny: 40 %")
        assert supervisor.take() == {"STATUS": "loading tiny: 40 %"}
        told.extend_timeout(1.5)
        assert supervisor.take() == {"EXTEND_TIMEOUT_USEC": "1500000"}
        told.alive()
        assert supervisor.take() == {"WATCHDOG": "1"}
        told.stopping("stopping", 10)
        assert supervisor.take() == {
            "STOPPING": "1", "STATUS": "stopping", "EXTEND_TIMEOUT_USEC": "10000000",
        }  # fmt: skip


def test_a_reload_says_when_it_began(tmp_path: Path) -> None:
    with supervising(tmp_path) as supervisor:
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        notifier(supervisor).reloading()
        notice = supervisor.take()
        assert notice["RELOADING"] == "1"
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        assert before <= int(notice["MONOTONIC_USEC"]) <= now


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the abstract namespace")
def test_an_at_sign_is_the_abstract_namespace(tmp_path: Path) -> None:
    with supervising(tmp_path, is_abstract=True) as supervisor:
        notifier(supervisor).alive()
        assert supervisor.take() == {"WATCHDOG": "1"}


def test_a_line_break_forges_no_assignment(tmp_path: Path) -> None:
    with supervising(tmp_path) as supervisor:
        notifier(supervisor).status("loading a\nMAINPID=1\r\nb: 3 %")
        assert supervisor.take() == {"STATUS": "loading a MAINPID=1 b: 3 %"}


@pytest.mark.parametrize("address", [None, "", "vsock:2:1234"])
def test_without_a_supervisor_it_is_silent(address: str | None) -> None:
    told = Notifier({} if address is None else {"NOTIFY_SOCKET": address})
    told.ready("serving tiny")
    assert not told.is_on


def test_a_supervisor_that_has_gone_is_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone.sock")})
    with caplog.at_level(logging.WARNING, "llmd.daemon"):
        told.alive()
        told.alive()
    (record,) = caplog.records
    assert "cannot tell systemd 'WATCHDOG=1'" in record.getMessage()


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_the_one_of_this_process(
    environ: dict[str, str], seconds: float | None
) -> None:
    assert Notifier(environ).watchdog_interval == seconds


def test_children_inherit_no_right_to_speak() -> None:
    environ = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "HOME": "/"}
    Notifier(environ)
    assert environ == {"HOME": "/"}
