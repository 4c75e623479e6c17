"""Closed sets that must stay covered wherever they are used."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from llmd import errors
from llmd.api.errors import error_response, openai_body
from llmd.api.openai.schema_chat import ChatCompletionRequest
from llmd.api.openai.schema_completions import CompletionRequest
from llmd.api.openai.stream import FINISH_REASONS
from llmd.core.output import FinishReason
from llmd.core.sampling import SamplingParams
from llmd.errors import ContextLengthExceeded, LlmdError


def tree(root: type[LlmdError]) -> Iterator[type[LlmdError]]:
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


ERRORS = list(tree(LlmdError))


def make(error: type[LlmdError]) -> LlmdError:
    if error is ContextLengthExceeded:
        return ContextLengthExceeded(5, 4, param="messages")
    return error("It is so. Do otherwise.")


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_stands_in_the_drawn_tree_with_its_status_and_code(
    error: type[LlmdError],
) -> None:
    drawing = errors.__doc__ or ""
    (line,) = re.findall(rf"^.*[\s-]{error.__name__}\s.*$", drawing, re.MULTILINE)
    if error is LlmdError:
        assert str(error.status) in line
    if "code " in line:
        assert re.search(rf"code {error.code}\b", line)
    statuses = [int(word) for word in re.findall(r"\b\d{3}\b", line)]
    assert all(status == error.status for status in statuses)


def test_no_two_errors_share_a_code() -> None:
    codes = [error.code for error in ERRORS if error.code is not None]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_has_the_body_that_sdks_read(error: type[LlmdError]) -> None:
    body = openai_body(make(error))["error"]
    assert isinstance(body["message"], str) and body["message"]
    assert isinstance(body["type"], str)
    assert {"param", "code"} <= body.keys()


@pytest.mark.parametrize("status", [429, 503])
def test_a_client_is_told_when_to_come_back(status: int) -> None:
    unavailable = [error for error in ERRORS if error.status == status]
    assert unavailable
    assert all("retry-after" in error_response(make(error)).headers for error in unavailable)


def test_every_finish_reason_has_a_name_in_the_openai_api() -> None:
    assert FINISH_REASONS.keys() == set(FinishReason)


@pytest.mark.parametrize("schema", [ChatCompletionRequest, CompletionRequest])
def test_every_sampling_parameter_can_be_set_by_a_request(schema: type[BaseModel]) -> None:
    fields = set(SamplingParams.__dataclass_fields__) - {"infill"}  # which `samplers` sets
    assert fields <= set(schema.model_fields), "a parameter that no client can reach"
