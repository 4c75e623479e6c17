"""The thread that owns the model."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import assert_never

from llmd.core.output import Output
from llmd.engine.executor import EngineBroken
from llmd.engine.loading import LoadedModel
from llmd.engine.notice import Ended, Loaded, LoadFailed, Notice, Stepped
from llmd.engine.reporting import refuse
from llmd.engine.request import Abort, Close, Command, End, PoolingRequest, Request, Submit
from llmd.engine.stepping import SteppingEngine
from llmd.errors import EngineFailed, LlmdError

logger = logging.getLogger("llmd.engine")

Build = Callable[[], tuple[SteppingEngine, LoadedModel]]
"""Loads a model; called on the engine thread. Raises LlmdError."""

MAX_CRASHES = 3
"""Steps in a row that may raise before the engine is given up."""

RELOADED = "The next request loads the model anew; the log has the details."


class EngineThread:
    """Runs one engine. Every native object is made, used and freed on this thread; commands come
    in through `send`, notices go out through `publish`. What it is at, `busy_since` and
    `longest_seconds`, any thread may read.
    """

    def __init__(self, build: Build, publish: Callable[[Notice], None]) -> None:
        """`publish` is called on this thread and must not block."""
        self._build = build
        self._publish = publish
        self._inbox: SimpleQueue[Command] = SimpleQueue()
        self.busy_since: float | None = None
        """Since when it has been at one step or command, in seconds of the monotonic clock; None
        while it loads, waits or has ended.
        """
        self.longest_seconds = 0.0
        """The longest step that came to its end."""
        self._num_crashes = 0
        self._unpublished: list[Output] = []
        self._thread = threading.Thread(target=self._run, name="llmd-engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def send(self, command: Command) -> None:
        """From any thread; commands take effect between two steps."""
        self._inbox.put(command)

    def join(self, timeout: float | None = None) -> None:
        self._thread.join(timeout)

    def _run(self) -> None:
        try:
            engine, model = self._build()
        except LlmdError as error:
            self._publish(LoadFailed(error))
            return
        except Exception as error:
            logger.exception("loading the model crashed")
            self._publish(
                LoadFailed(EngineFailed(f"loading crashed: {error}. The log has the details."))
            )
            return
        self._publish(Loaded(model))
        try:
            failure = self._serve(engine)
        except Exception as error:  # then not even the end of what ran could be told
            logger.exception("the engine's thread crashed")
            failure = EngineFailed(f"the engine crashed ({error}). {RELOADED}")
        self.busy_since = None
        try:
            engine.close()
        except Exception:
            logger.exception("freeing the model crashed; what it took may be lost")
        self._publish(Ended(failure))

    def _serve(self, engine: SteppingEngine) -> LlmdError | None:
        """Step until closed or broken.

        What a step brought is published when the next one has been planned: then the event loop
        works on it while the model computes, instead of holding the GIL while the plan is made.
        """
        while self._take_commands(engine):
            self.busy_since = started = time.monotonic()
            try:
                self._unpublished = engine.step(lambda begun: self._publish_begun(engine, begun))
            except EngineBroken as error:
                return self._give_up(engine, str(error))
            except Exception as error:
                logger.exception("a step crashed")
                self._num_crashes += 1
                if self._num_crashes >= MAX_CRASHES:
                    return self._give_up(engine, f"the engine keeps crashing ({error})")
                self._unpublished += engine.fail_all(
                    "the engine crashed while it computed this request, and goes on. Try again; "
                    "the log has the details"
                )
            else:
                self._num_crashes = 0
                self.longest_seconds = max(self.longest_seconds, time.monotonic() - started)
        self._publish_outputs(engine)
        return None

    def _take_commands(self, engine: SteppingEngine) -> bool:
        """Carry out what came in; wait for it while there is nothing to do. False to end."""
        while True:
            if engine.is_idle:
                self._publish_outputs(engine)  # no next step will
                self.busy_since = None
            try:
                command = self._inbox.get(block=engine.is_idle)
            except Empty:
                return True
            self.busy_since = time.monotonic()
            match command:
                case Submit(request):
                    self._add(engine, request)
                case Abort(request_id):
                    engine.abort(request_id)
                    self._publish(Stepped((), engine.stats()))  # it may have been the last one
                case End(request_id):
                    self._unpublished += engine.end(request_id)
                    self._publish_outputs(engine)
                case Close():
                    return False
                case _:
                    assert_never(command)

    def _add(self, engine: SteppingEngine, request: Request | PoolingRequest) -> None:
        try:
            engine.add(request)
        except Exception as error:
            # Nothing was computed for it yet, so nobody else is touched.
            logger.exception("a request crashed as it was added")
            engine.abort(request.id)
            reason = f"the engine cannot take this request ({error}); the log has the details"
            self._unpublished += refuse(request, reason)
            self._publish_outputs(engine)

    def _give_up(self, engine: SteppingEngine, reason: str) -> LlmdError:
        error = EngineFailed(f"{reason}. {RELOADED}")
        logger.critical("%s", error)
        self._unpublished += engine.fail_all(error.message)
        self._publish_outputs(engine)
        return error

    def _publish_begun(self, engine: SteppingEngine, begun: list[Output]) -> None:
        self._unpublished += begun
        self._publish_outputs(engine)

    def _publish_outputs(self, engine: SteppingEngine) -> None:
        outputs, self._unpublished = self._unpublished, []
        if outputs:
            self._publish(Stepped(tuple(outputs), engine.stats()))
