from __future__ import annotations

import random

import numpy as np
import pytest

from llmd.engine.radix import Node, RadixTree, Tokens, common_length


def tokens(text: str) -> Tokens:
    return np.frombuffer(text.encode(), np.uint8).astype(np.int32)


def text(node: Node) -> str:
    return bytes(node.tokens.tolist()).decode()


def ways(tree: RadixTree, prompt: str) -> list[list[tuple[str, int]]]:
    return [[(text(node), length) for node, length in way] for way in tree.paths(tokens(prompt))]


@pytest.mark.parametrize(
    ("first", "second", "length"),
    [("", "abc", 0), ("abc", "abc", 3), ("abc", "abcd", 3), ("abc", "abd", 2), ("x", "abc", 0)],
)
def test_common_length(first: str, second: str, length: int) -> None:
    assert common_length(tokens(first), tokens(second)) == length


def test_an_empty_tree_has_one_empty_way() -> None:
    assert ways(RadixTree(), "abc") == [[]]


def test_a_way_ends_where_the_tokens_differ() -> None:
    tree = RadixTree()
    tree.root.add_child(tokens("abcdef"))
    assert ways(tree, "abcxyz") == [[("abcdef", 3)]]


def test_splitting_keeps_what_hangs_below_and_who_holds_the_end() -> None:
    tree = RadixTree("mine")
    node = tree.root.add_child(tokens("abcdef"))
    child = node.add_child(tokens("ghi"))
    node.holders.add(7)
    node.is_live, node.num_users = True, 2
    upper = node.split(2)
    assert ways(tree, "abcdefghij") == [[("ab", 2), ("cdef", 4), ("ghi", 3)]]
    assert (upper.holders, node.holders, child.parent) == (set(), {7}, node)
    assert (upper.is_live, upper.num_users, upper.scope) == (True, 2, "mine")
    assert (upper.start, upper.end, node.start, node.end) == (0, 2, 2, 6)


def test_siblings_may_begin_alike_and_make_several_ways() -> None:
    tree = RadixTree()
    tree.root.add_child(tokens("abcx"))
    tree.root.add_child(tokens("abc")).add_child(tokens("def"))
    assert sorted(ways(tree, "abcdeg")) == [[("abc", 3), ("def", 2)], [("abcx", 3)]]


def test_a_node_knows_its_whole_prefix() -> None:
    node = RadixTree().root.add_child(tokens("abc")).add_child(tokens("def"))
    assert node.prefix().tolist() == tokens("abcdef").tolist()


def test_removing_a_child_forgets_it() -> None:
    tree = RadixTree()
    child = tree.root.add_child(tokens("abc"))
    tree.root.remove_child(child)
    assert ways(tree, "abc") == [[]]
    assert tree.root.num_children == 0


@pytest.mark.parametrize("seed", range(5))
def test_the_longest_way_is_the_longest_common_prefix_of_all_that_was_entered(seed: int) -> None:
    draw = random.Random(seed)
    tree, entered = RadixTree(), []
    for _ in range(60):
        prompt = "".join(draw.choice("ab") for _ in range(draw.randint(1, 14)))
        entered.append(prompt)
        enter(tree, prompt)
        asked = "".join(draw.choice("ab") for _ in range(14))
        found = max(sum(length for _, length in way) for way in tree.paths(tokens(asked)))
        assert found == max(common_length(tokens(asked), tokens(each)) for each in entered)
    for node in tree.nodes():
        assert node.start == (node.parent.end if node.parent else 0)


def enter(tree: RadixTree, prompt: str) -> None:
    (way,) = tree.paths(tokens(prompt))
    node, length = way[-1] if way else (tree.root, 0)
    if length < len(node):
        node = node.split(length)
    if node.end < len(prompt):
        node.add_child(tokens(prompt)[node.end :])
