from __future__ import annotations

import pytest

from llmd.store.hub_reference import HubReference, parse_reference


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("org/repo", HubReference("org", "repo")),
        ("org/repo-GGUF:Q4_K_M", HubReference("org", "repo-GGUF", "Q4_K_M")),
        ("hf.co/org/repo:Q8_0", HubReference("org", "repo", "Q8_0")),
        ("https://huggingface.co/org/repo", HubReference("org", "repo")),
        ("https://huggingface.co/org/repo/", HubReference("org", "repo")),
        ("https://huggingface.co/org/repo/tree/main", HubReference("org", "repo")),
        (
            "https://hf.co/org/Qwen3-0.6B:UD-Q4_K_XL",
            HubReference("org", "Qwen3-0.6B", "UD-Q4_K_XL"),
        ),
        ("org/repo:latest", HubReference("org", "repo")),
    ],
)
def test_every_spelling_names_its_model(source: str, expected: HubReference) -> None:
    assert parse_reference(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        "tiny",
        "org/repo/file",
        "org/repo:",
        "org/repo:Q4:Q8",
        "org/..",
        "../repo",
        "org/a..b",
        "a--b/c",
        "org/-repo",
        "/org/repo",
        "https://example.org/org/repo",
        "org/re po",
        "",
    ],
)
def test_what_names_no_model_of_a_hub_is_none(source: str) -> None:
    assert parse_reference(source) is None


def test_the_mirror_that_is_set_is_a_hub_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example")
    assert parse_reference("https://mirror.example/org/repo:Q8_0") == HubReference(
        "org", "repo", "Q8_0"
    )


@pytest.mark.parametrize("source", ["org/repo", "org/repo:Q8_0"])
def test_a_reference_is_written_as_it_is_read(source: str) -> None:
    assert str(parse_reference(source)) == source
