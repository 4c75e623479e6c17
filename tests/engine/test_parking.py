from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from llmd.engine.disk_tier import DiskTier
from llmd.engine.parking import Parking
from llmd.engine.radix import Node, RadixTree, Tokens
from llmd.llama.context import State


def tokens(text: str) -> Tokens:
    return np.frombuffer(text.encode(), np.uint8).astype(np.int32)


def state(size: int, fill: int = 0) -> State:
    return np.full(size, fill, np.uint8)


def parking(capacity: int, disk: DiskTier | None = None) -> Parking:
    return Parking(capacity, disk, clock=lambda: 0.0)


@pytest.fixture
def tree() -> RadixTree:
    return RadixTree("scope")


def used(tree: RadixTree, text: str, now: int) -> Node:
    node = tree.root.add_child(tokens(text))
    node.used_at = now
    return node


def disk_tier(directory: Path, capacity: int = 1 << 20) -> DiskTier:
    return DiskTier(directory, "model", capacity, lambda: 0.0)


def test_a_state_comes_back_as_it_went_in(tree: RadixTree) -> None:
    lot, node = parking(100), used(tree, "a", 1)
    assert lot.park(node, state(10, 1), state(5, 2))
    span, checkpoint = lot.fetch(node) or (None, None)
    assert span is not None and span.tolist() == [1] * 10
    assert checkpoint is not None and checkpoint.tolist() == [2] * 5


def test_the_least_recently_used_goes_first(tree: RadixTree) -> None:
    lot = parking(25)
    nodes = [used(tree, text, now) for text, now in (("a", 2), ("b", 1), ("c", 3))]
    for node in nodes:
        lot.park(node, state(10))
    assert [lot.has(node) for node in nodes] == [True, False, True]
    assert lot.num_bytes == 20


def test_an_end_goes_before_what_it_stands_on(tree: RadixTree) -> None:
    lot = parking(25)
    root = used(tree, "a", 5)
    end = root.add_child(tokens("b"))
    end.used_at = 5
    other = used(tree, "c", 5)
    for node in (root, end, other):
        lot.park(node, state(10))
    assert [lot.has(root), lot.has(end), lot.has(other)] == [True, False, True]


def test_system_prompts_stay_longest(tree: RadixTree) -> None:
    lot = parking(25)
    anchor = used(tree, "a", 1)
    anchor.is_anchor = True
    later = [used(tree, text, 5) for text in "bc"]
    for node in (anchor, *later):
        lot.park(node, state(10))
    assert lot.has(anchor)


def test_system_prompts_that_fill_the_memory_are_spared_no_more(tree: RadixTree) -> None:
    lot = parking(25)
    anchors = [used(tree, text, now) for now, text in enumerate("abc")]
    for node in anchors:
        node.is_anchor = True
        lot.park(node, state(10))
    assert [lot.has(node) for node in anchors] == [False, True, True]


def test_what_never_fits_is_not_kept(tree: RadixTree) -> None:
    lot, node = parking(5), used(tree, "a", 1)
    assert not lot.park(node, state(10))
    assert not lot.has(node) and lot.num_bytes == 0


def test_a_dropped_checkpoint_gives_its_bytes_back(tree: RadixTree) -> None:
    lot, node = parking(100), used(tree, "a", 1)
    lot.park(node, state(10), state(5))
    lot.drop_checkpoint(node)
    assert (lot.num_bytes, lot.has(node), lot.has_checkpoint(node)) == (10, True, False)


def test_what_leaves_the_ram_goes_to_the_disk(tree: RadixTree, tmp_path: Path) -> None:
    lot = parking(15, disk_tier(tmp_path))
    old, new = used(tree, "a", 1), used(tree, "b", 2)
    lot.park(old, state(10, 1), state(2, 9))
    lot.park(new, state(10, 2))
    assert lot.num_bytes == 10 and lot.has(old) and lot.has_checkpoint(old)
    span, checkpoint = lot.fetch(old) or (None, None)
    assert span is not None and span.tolist() == [1] * 10
    assert checkpoint is not None and checkpoint.tolist() == [9, 9]
    lot.close()


def test_closing_writes_everything_and_a_new_one_finds_it(tmp_path: Path) -> None:
    tree = RadixTree("scope")
    lot = parking(100, disk_tier(tmp_path))
    root = used(tree, "abc", 2)
    end = root.add_child(tokens("def"))
    lot.park(root, state(10, 1))
    lot.park(end, state(10, 2))
    lot.close()
    trees: dict[str, RadixTree] = {}
    again = parking(100, disk_tier(tmp_path))
    again.load_index(trees)
    (way,) = trees["scope"].paths(tokens("abcdefg"))
    assert [(node.start, node.end, again.has(node)) for node, _ in way] == [
        (0, 3, True),
        (3, 6, True),
    ]
    span, _ = again.fetch(way[1][0]) or (state(0), None)
    assert span.tolist() == [2] * 10
    again.close()


def test_a_file_whose_beginning_is_gone_waits_for_it(tmp_path: Path) -> None:
    tree = RadixTree("scope")
    lot = parking(100, disk_tier(tmp_path))
    root = used(tree, "abc", 1)
    end = root.add_child(tokens("def"))
    lot.park(root, state(10, 1))
    lot.park(end, state(10, 2))
    lot.close()
    disk = disk_tier(tmp_path)
    (first,) = [stored for stored in disk.scan() if stored.start == 0]
    first.path.unlink()
    trees: dict[str, RadixTree] = {}
    again = parking(100, disk)
    again.load_index(trees)
    (way,) = trees["scope"].paths(tokens("abcdef"))
    assert [(node.start, again.has(node)) for node, _ in way] == [(0, False), (3, True)]
    again.close()


def test_a_file_that_vanished_is_forgotten(tree: RadixTree, tmp_path: Path) -> None:
    lot = parking(0, disk_tier(tmp_path))
    node = used(tree, "a", 1)
    assert lot.park(node, state(10))
    lot.close()
    for file in tmp_path.rglob("*.state"):
        file.unlink()
    assert lot.fetch(node) is None
    assert not lot.has(node)
