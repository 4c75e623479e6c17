"""The routes below /v1/responses/{id}: what is stored, and what runs in the background."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from llmd.api.openai.encode_response import describe_error, encode_event
from llmd.api.openai.response_history import all_input_items
from llmd.api.sse import EventStreamResponse
from llmd.api.state import ApiState, state_of
from llmd.api.tenant import tenant_of
from llmd.errors import EngineFailed, InvalidRequest, ResponseNotFound
from llmd.responses.record import RecordState, ResponseRecord

MAX_LIMIT = 100


async def get_response(request: Request) -> ASGIApp:
    """The response as it is now or, of a background one, its events."""
    state, tenant, id_ = _asked(request)
    if request.query_params.get("stream", "").lower() in {"true", "1"}:
        return await _stream(state, tenant, id_, _starting_after(request))
    running = state.background.find(tenant, id_)
    if running is not None:
        return _json(running.run.writer.encode())
    return _json(_body(await _find(state, tenant, id_)))


async def delete_response(request: Request) -> ASGIApp:
    """A background response that runs is cancelled first."""
    state, tenant, id_ = _asked(request)
    running = state.background.find(tenant, id_)
    if running is not None:
        await state.background.cancel(running)
    await _find_here(state, tenant, id_)
    if not await state.responses.delete(tenant, id_):
        raise _not_found(id_)
    return _json({"id": id_, "object": "response", "deleted": True})


async def cancel_response(request: Request) -> ASGIApp:
    """Of one that is over already, what became of it."""
    state, tenant, id_ = _asked(request)
    running = state.background.find(tenant, id_)
    if running is not None:
        await state.background.cancel(running)
        return _json(running.run.writer.encode())
    body = _body(await _find_here(state, tenant, id_))
    if not body["background"]:
        raise InvalidRequest(
            f"the response {id_!r} does not run in the background, so it cannot be cancelled. "
            "Close the connection of a request to end it.",
            param="response_id",
        )
    return _json(body)


async def list_input_items(request: Request) -> ASGIApp:
    """All items that a response was made of, those of the conversation before it too, a page at a
    time: the newest first, unless asked for otherwise.
    """
    state, tenant, id_ = _asked(request)
    query = request.query_params
    order = query.get("order", "desc")
    if order not in {"asc", "desc"}:
        raise InvalidRequest("order is neither 'asc' nor 'desc'. Send one.", param="order")
    limit = _whole_number(request, "limit", 20)
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidRequest(f"limit is not from 1 to {MAX_LIMIT}. Correct it.", param="limit")
    chain = await state.responses.chain(tenant, id_, is_use=False)
    if not chain:
        raise _not_found(id_)
    items = all_input_items(chain)
    if order == "desc":
        items.reverse()
    ids = [item["id"] for item in items]
    start, end = 0, len(items)
    if "after" in query:
        start = _index(ids, query["after"], "after") + 1
    if "before" in query:
        end = _index(ids, query["before"], "before")
    page = items[start:end][:limit]
    return _json(
        {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": start + len(page) < end,
        }
    )


def _asked(request: Request) -> tuple[ApiState, str, str]:
    return state_of(request), tenant_of(request), request.path_params["response_id"]


async def _find(state: ApiState, tenant: str, id_: str) -> ResponseRecord:
    record = await state.responses.find(tenant, id_)
    if record is None:
        raise _not_found(id_)
    return record


async def _find_here(state: ApiState, tenant: str, id_: str) -> ResponseRecord:
    """One that no other daemon with the same state directory works on."""
    record = await _find(state, tenant, id_)
    if record.state is RecordState.RUNNING:
        raise InvalidRequest(
            f"the response {id_!r} runs in another llmd that shares the state directory. Ask that "
            "one, or wait for its end.",
            param="response_id",
        )
    return record


def _not_found(id_: str) -> ResponseNotFound:
    return ResponseNotFound(
        f"there is no stored response {id_!r} for this key: it was not stored, was deleted or is "
        "too old. Check the id and the key.",
        param="response_id",
    )


def _body(record: ResponseRecord) -> dict[str, Any]:
    """The Response object. What a daemon left unfinished when it died has failed."""
    body: dict[str, Any] = orjson.loads(record.body)
    if record.state is RecordState.LOST:
        error = EngineFailed(
            "llmd ended before this response was finished. Send the request again."
        )
        body |= {"status": "failed", "error": describe_error(error)}
    return body


async def _stream(state: ApiState, tenant: str, id_: str, start: int) -> ASGIApp:
    running = state.background.find(tenant, id_)
    if running is not None:
        source = running.follow(start)
    else:
        record = await _find_here(state, tenant, id_)
        body = _body(record)
        if not body["background"]:
            raise InvalidRequest(
                f"the response {id_!r} did not run in the background, so its events are not kept. "
                "Leave stream out.",
                param="stream",
            )
        source = _replay(record, body, start)
    return EventStreamResponse(source, lambda: None, ping_interval=state.settings.sse_ping_interval)


async def _replay(record: ResponseRecord, body: dict[str, Any], start: int) -> AsyncIterator[bytes]:
    """The events that are kept, from number `start` on. Of one that a dead daemon left behind
    there are none, and all there is to say is that.
    """
    if record.events:
        for event in record.events.split(b"\n\n")[start:-1]:
            yield event + b"\n\n"
        return
    if start == 0:
        created = {"type": "response.created", "sequence_number": 0, "response": body}
        yield encode_event(created)
        start = 1
    yield encode_event({"type": "response.failed", "sequence_number": start, "response": body})


def _starting_after(request: Request) -> int:
    """The first sequence number that is asked for."""
    number = _whole_number(request, "starting_after", -1)
    return max(0, number + 1)


def _whole_number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, "")
    try:
        return int(text) if text else default
    except ValueError:
        raise InvalidRequest(f"{name} is no whole number. Correct it.", param=name) from None


def _index(ids: list[str], id_: str, name: str) -> int:
    try:
        return ids.index(id_)
    except ValueError:
        raise InvalidRequest(
            f"there is no input item {id_!r} of this response. Use an id of its list.", param=name
        ) from None


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")
