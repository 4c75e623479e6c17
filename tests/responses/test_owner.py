from __future__ import annotations

from pathlib import Path

from llmd.responses.owner import Owner


def test_a_daemon_lives_until_it_ends(tmp_path: Path) -> None:
    first, second = Owner(tmp_path), Owner(tmp_path)
    first.announce()
    assert second.is_alive(first.name)
    first.close()
    assert not second.is_alive(first.name)
    assert list(tmp_path.iterdir()) == []


def test_it_takes_itself_for_alive() -> None:
    owner = Owner(None)
    owner.announce()
    assert owner.is_alive(owner.name)
    owner.close()


def test_what_a_dead_daemon_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "running-0123456789abcdef.lock"
    left.touch()
    assert not Owner(tmp_path).is_alive("0123456789abcdef")
    assert not left.exists()


def test_no_name_leads_out_of_the_directory(tmp_path: Path) -> None:
    assert not Owner(tmp_path).is_alive("../elsewhere")
