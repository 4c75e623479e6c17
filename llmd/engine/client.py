"""The event loop's side of an engine."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import assert_never

from llmd.core.output import Output
from llmd.engine.admission import Admission
from llmd.engine.loading import LoadedModel
from llmd.engine.notice import Ended, Loaded, LoadFailed, Notice, Stepped
from llmd.engine.request import Abort, Close, End, PoolingRequest, Request, Submit
from llmd.engine.stats import EngineStats
from llmd.engine.thread import Build, EngineThread
from llmd.errors import EngineFailed, LlmdError


class OutputStream:
    """The outputs of one request: an async iterator that ends with the last sequence's last one.
    Outputs that nobody read yet are merged, so a slow reader costs memory for its text alone.
    """

    def __init__(
        self, client: EngineClient, request: Request | PoolingRequest, *, submitted_at: float = 0.0
    ) -> None:
        self._client = client
        self._request_id = request.id
        self.num_unfinished = request.num_answers
        """Sequences whose last output was not delivered yet."""
        self.has_begun = False
        """Whether anything was generated."""
        self.submitted_at = submitted_at
        """Seconds of the event loop's clock."""
        self._unread: dict[int, Output] = {}  # by sequence, the longest unread first
        self._waiter: asyncio.Future[None] | None = None
        self._error: LlmdError | None = None

    def __aiter__(self) -> OutputStream:
        return self

    async def __anext__(self) -> Output:
        """Raises EngineFailed when the engine ended before the request did."""
        while not self._unread:
            if self._error is not None:
                raise self._error
            if self.num_unfinished == 0:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._unread.pop(next(iter(self._unread)))

    def abort(self) -> None:
        """Let the engine forget the request; nothing is delivered any more. Idempotent, and a
        plain call, so that a cancelled task can make it.
        """
        self._client.forget(self._request_id)

    def end(self) -> None:
        """Let it end with what it has, at its length. A plain call."""
        self._client.end(self._request_id)

    def put(self, output: Output) -> bool:
        """Deliver; True when this was the last output of the last sequence."""
        unread = self._unread.get(output.index)
        self._unread[output.index] = output if unread is None else _merge(unread, output)
        self.has_begun |= output.num_tokens > 0
        self.num_unfinished -= output.finish_reason is not None
        self._wake()
        return self.num_unfinished == 0

    def fail(self, error: LlmdError) -> None:
        """What was delivered stays readable; then comes the error."""
        self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class EngineClient:
    """Starts, feeds and closes one engine. Event loop only."""

    def __init__(self, build: Build, *, max_queue: int) -> None:
        """`max_queue` sequences may wait beside those that the engine runs together."""
        self._admission = Admission(max_queue)
        self._loop = asyncio.get_running_loop()
        self._thread = EngineThread(build, self._publish)
        self._streams: dict[str, OutputStream] = {}
        self._loaded: asyncio.Future[LoadedModel] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._refusal: LlmdError | None = None
        self.error: LlmdError | None = None
        """Why the engine ended by itself."""
        self.stats: EngineStats | None = None
        """As of the last step that brought anything."""

    async def start(self) -> LoadedModel:
        """Load the model. Raises what loading raises; cancelling the caller does not stop it."""
        self._thread.start()
        return await asyncio.shield(self._loaded)

    def check_room(self, num_sequences: int) -> None:
        """Raises QueueFull when there is too much to do to take so many sequences on."""
        self._admission.check(self.num_unfinished, num_sequences)

    def limit_queue(self, max_queue: int) -> None:
        """From now on so many sequences may wait."""
        self._admission.max_queue = max_queue

    @property
    def num_unfinished(self) -> int:
        """Sequences that run or wait."""
        return sum(stream.num_unfinished for stream in self._streams.values())

    @property
    def num_waiting(self) -> int:
        """Of these, those that wait, as of the last step."""
        return min(self.stats.num_waiting, self.num_unfinished) if self.stats else 0

    @property
    def busy_since(self) -> float | None:
        """Since when the engine has been at one step or command, in seconds of the monotonic clock;
        None while it has nothing to do.
        """
        return self._thread.busy_since

    @property
    def longest_seconds(self) -> float:
        """The longest of its steps so far."""
        return self._thread.longest_seconds

    def submit(self, request: Request) -> OutputStream:
        """Raises EngineFailed when the engine has ended, QueueFull when it has enough to do."""
        return self._submit(request)

    def pool(self, request: PoolingRequest) -> OutputStream:
        """As `submit`, for a model that does not write; one output has everything."""
        return self._submit(request)

    def forget(self, request_id: str) -> None:
        """Abort a request unless it is over already. Idempotent."""
        if self._streams.pop(request_id, None) is not None:
            self._thread.send(Abort(request_id))

    def stop(self, error: LlmdError) -> None:
        """End all requests with the error, and refuse more with it. A plain call; `close` is due
        afterwards.
        """
        self._refusal = error
        for request_id, stream in list(self._streams.items()):
            self.forget(request_id)
            stream.fail(error)

    def end(self, request_id: str) -> None:
        """Let a request end with what it has, unless it is over already."""
        if request_id in self._streams:
            self._thread.send(End(request_id))

    async def close(self) -> None:
        """Abort what runs, free the model, and wait for the thread to end. Idempotent."""
        self._thread.send(Close())
        await asyncio.shield(self._ended)
        self._thread.join()

    def _submit(self, request: Request | PoolingRequest) -> OutputStream:
        if self._refusal is not None:
            raise self._refusal
        if self._ended.done():
            raise self.error or EngineFailed("the engine is closed. Try again.")
        stream = OutputStream(self, request, submitted_at=self._loop.time())
        self.check_room(stream.num_unfinished)
        self._streams[request.id] = stream
        self._thread.send(Submit(request))
        return stream

    def _publish(self, notice: Notice) -> None:
        """On the engine thread."""
        try:
            self._loop.call_soon_threadsafe(self._deliver, notice)
        except RuntimeError:
            # The loop is closed: nobody is left to read.
            return

    def _deliver(self, notice: Notice) -> None:
        match notice:
            case Loaded(model):
                self._admission.open(model.num_sequences)
                self._loaded.set_result(model)
            case LoadFailed(error):
                self._end(error)
                self._loaded.set_exception(error)
                self._loaded.exception()  # whoever waited for it may have gone
            case Stepped(outputs, stats):
                self.stats = stats
                for output in outputs:
                    self._deliver_output(output)
            case Ended(error):
                self._end(error)
            case _:
                assert_never(notice)

    def _deliver_output(self, output: Output) -> None:
        stream = self._streams.get(output.request_id)
        if stream is not None and stream.put(output):
            del self._streams[output.request_id]
            self._admission.note_finished(self._loop.time() - stream.submitted_at)

    def _end(self, error: LlmdError | None) -> None:
        self.error = error
        if not self._ended.done():
            self._ended.set_result(None)
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.fail(error or EngineFailed("the engine was closed. Try again."))


def _merge(first: Output, second: Output) -> Output:
    return replace(
        second,
        progress=second.progress or first.progress,
        text=first.text + second.text,
        num_tokens=first.num_tokens + second.num_tokens,
        logprobs=first.logprobs + second.logprobs,
        prompt_logprobs=first.prompt_logprobs + second.prompt_logprobs,
    )
