"""One response on its way: from a request's body to a generation, and from that to the store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import orjson

from llmd.api.openai.encode_response import ResponseWriter, encode_event
from llmd.api.openai.response_history import Conversation, read_conversation
from llmd.api.openai.schema_response_tools import ResponseTools
from llmd.api.openai.schema_responses import ResponsesRequest
from llmd.core.request import GenerateRequest
from llmd.errors import ContextLengthExceeded, InvalidRequest, LlmdError
from llmd.registry.registry import ModelRegistry
from llmd.responses.record import RecordState, ResponseRecord
from llmd.responses.store import ResponseStore
from llmd.serving.generation import Generation, start_generation
from llmd.serving.truncation import start_truncated


@dataclass(frozen=True, slots=True)
class ResponseRun:
    """A request that was understood, and the writer of its response."""

    registry: ModelRegistry
    store: ResponseStore
    tenant: str
    request: ResponsesRequest
    tools: ResponseTools
    conversation: Conversation
    core: GenerateRequest
    writer: ResponseWriter

    async def start(self) -> Generation:
        """Raises as `start_generation` does, in this API's field names."""
        start = start_truncated if self.request.truncation == "auto" else start_generation
        try:
            return await start(self.registry, self.core)
        except ContextLengthExceeded as error:
            raise ContextLengthExceeded(
                error.num_prompt_tokens, error.context_size, param="input"
            ) from error
        except InvalidRequest as error:
            self.tools.rename(error)
            raise

    async def save(self, *, events: bytes = b"", state: RecordState = RecordState.FINISHED) -> None:
        """Keep the response as it is now, where it is to be kept; where that fails, it says so."""
        writer = self.writer
        if not writer.is_stored:
            return
        record = ResponseRecord(
            id=writer.id,
            tenant=self.tenant,
            created_at=writer.created_at,
            body=orjson.dumps(writer.encode()),
            input_items=orjson.dumps(self.conversation.items),
            previous_id=self.request.previous_response_id or None,
            events=events,
            state=state,
        )
        writer.is_stored = await self.store.save(record)

    async def finish(self, generation: Generation) -> None:
        """Read the generation to its end and keep the response. Raises EngineFailed."""
        try:
            async for _ in self.writer.advance(generation):
                pass
        finally:
            generation.close()
        await self.save()

    async def stream(self, generation: Generation) -> AsyncIterator[bytes]:
        """The events of the whole response; what fails is one of them. The last one comes when the
        response is stored.
        """
        try:
            async for event in self.writer.advance(generation):
                yield encode_event(event)
            await self.save()
        except LlmdError as error:
            yield self.failure(error)
        else:
            yield encode_event(self.writer.terminal())

    def failure(self, error: LlmdError) -> bytes:
        """The end of a stream that failed."""
        events = [*self.writer.fail(error), self.writer.terminal()]
        return b"".join(map(encode_event, events))


async def prepare(
    registry: ModelRegistry, store: ResponseStore, request: ResponsesRequest, tenant: str
) -> ResponseRun:
    """Everything about a request that can be checked before there is a model. Raises
    InvalidRequest, ModelNotFound or PreviousResponseNotFound.
    """
    request.check()
    model = registry.choose(request.model).name
    tools = ResponseTools(request.tools)
    conversation = await read_conversation(store, request, tenant)
    return ResponseRun(
        registry=registry,
        store=store,
        tenant=tenant,
        request=request,
        tools=tools,
        conversation=conversation,
        core=request.to_core(conversation.messages, tools, tenant=tenant),
        writer=ResponseWriter(conversation.response_id, model, request, tools),
    )
