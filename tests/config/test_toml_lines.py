from __future__ import annotations

import pytest

from llmd.config.keys import Key
from llmd.config.toml_lines import line_of

TEXT = """\
# port = 1
[server]
host = "a"
  port=2
[models."qwen2.5-7b".sampling]  # named
top_k = 3
[ model ]
sampling = { top_k = 1, top_p = 2 }
sampling2.min_p = 1
"""


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (("server", "port"), 4),
        (("models", "qwen2.5-7b", "sampling", "top_k"), 6),
        (("model", "sampling", "top_k"), 8),
        (("model", "sampling2", "min_p"), 9),
        (("server",), 2),
        (("server", "absent"), 2),
        (("absent",), None),
    ],
)
def test_a_key_is_found_in_its_table_however_it_is_written(key: Key, line: int | None) -> None:
    assert line_of(TEXT, key) == line


def test_a_key_before_any_table_is_found() -> None:
    assert line_of('server.port = 1\n"x" = 2', ("server", "port")) == 1
