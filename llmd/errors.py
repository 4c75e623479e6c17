"""Every error that a user of llmd can cause or meet, as one tree.

    LlmdError                     500  server_error
    |- InvalidRequest             400  invalid_request_error
    |  |- ContextLengthExceeded   400  code context_length_exceeded; carries both numbers
    |  |- LimitExceeded           400  code limit_exceeded
    |  |- Superseded              400  code superseded
    |  |- TemplateFailed          400  code chat_template_error
    |  `- Unsupported             400  code unsupported
    |- InvalidApiKey              401  code invalid_api_key
    |- Forbidden                  403  code forbidden
    |  `- ModelForbidden          403  code model_forbidden
    |- ModelNotFound              404  code model_not_found
    |- ResponseNotFound           404  code response_not_found
    |  `- PreviousResponseNotFound 404  code previous_response_not_found
    |- RouteNotFound              404  code route_not_found
    |- MethodNotAllowed           405  code method_not_allowed
    |- RequestTimeout             408  code request_timeout
    |- BodyTooLarge               413  code body_too_large
    |- QueueFull                  429  code queue_full; sent with Retry-After
    |- RateLimitExceeded          429  code rate_limit_exceeded; sent with Retry-After
    |- HeadTooLarge               431  code head_too_large
    |- ServiceUnavailable         503  sent with Retry-After
    |  |- ModelLoading                 code model_loading
    |  `- Draining                     code draining
    |- EngineFailed               500  code engine_failed
    |- DaemonError                     code daemon_error; what a running daemon told a command
    |- DaemonUnreachable               code daemon_unreachable; a command finds none running
    |- PullFailed                 502  code pull_failed
    |  |- HubUnreachable          502  code hub_unreachable; what is here still serves
    |  |- HubRefused              403  code hub_refused
    |  |- HubModelNotFound        404  code hub_model_not_found
    |  `- NotEnoughDisk           507  code not_enough_disk
    `- StartupError               500  what keeps the daemon from starting, with exit status 1
       |- ConfigError                  code config_error
       |- AddressInUse                 code address_in_use
       `- ModelLoadError               code model_load_failed
          |- ModelFileNotFound         code model_file_not_found
          |- InvalidModelFile          code invalid_model_file
          |- ContextRefused            code context_refused
          `- NotEnoughMemory           code not_enough_memory

A message is one or two sentences and ends with the cure. Nothing ever matches on its text: the
class is the identity, `code` is its name on the wire.
"""

from __future__ import annotations

from typing import ClassVar


class LlmdError(Exception):
    """The root: a message for people, and what a dialect needs to put it on the wire.

    `param` names the request field at fault, as a dotted path such as `messages.2.content`.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str | None] = None
    retry_after: int | None = None
    """Seconds for the Retry-After header; None sends none."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param

    def details(self) -> dict[str, int | str]:
        """Further fields of the error body, such as token counts."""
        return {}


class InvalidRequest(LlmdError):
    status = 400
    type = "invalid_request_error"
    code = "invalid_request"


class ContextLengthExceeded(InvalidRequest):
    """The prompt does not fit the context. Its wording holds the phrases that clients look for
    to shorten a conversation by themselves (OpenAI's, llama-server's and the code's own).
    """

    code = "context_length_exceeded"

    def __init__(self, num_prompt_tokens: int, context_size: int, *, param: str) -> None:
        super().__init__(
            f"context_length_exceeded: this model's maximum context length is {context_size} "
            f"tokens, but the request has {num_prompt_tokens} prompt tokens, which exceeds the "
            f"available context size ({context_size} tokens). Shorten the "
            f"{param}, or start llmd with a larger --ctx-size.",
            param=param,
        )
        self.num_prompt_tokens = num_prompt_tokens
        self.context_size = context_size

    def details(self) -> dict[str, int | str]:
        return {"n_prompt_tokens": self.num_prompt_tokens, "n_ctx": self.context_size}


class LimitExceeded(InvalidRequest):
    """More of something than this daemon takes in one request."""

    code = "limit_exceeded"


class Superseded(InvalidRequest):
    """A newer request of the same session took this one's place. A 400, as SDKs repeat a 409: the
    repeated request would end the newer one.
    """

    code = "superseded"


class TemplateFailed(InvalidRequest):
    """The model's chat template refused the messages, or failed on them."""

    code = "chat_template_error"


class Unsupported(InvalidRequest):
    """A valid request for something that this model or this version of llmd cannot do."""

    code = "unsupported"


class InvalidApiKey(LlmdError):
    """No key, or none that is known here."""

    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"


class Forbidden(LlmdError):
    status = 403
    type = "permission_error"
    code = "forbidden"


class ModelForbidden(Forbidden):
    """Served here, and not for this key."""

    code = "model_forbidden"


class ModelNotFound(LlmdError):
    status = 404
    type = "invalid_request_error"
    code = "model_not_found"


class ResponseNotFound(LlmdError):
    """No stored response of this key has that id: it never had, or it is deleted or forgotten."""

    status = 404
    type = "invalid_request_error"
    code = "response_not_found"


class PreviousResponseNotFound(ResponseNotFound):
    """The response that a request continues, or one before it, is not there."""

    code = "previous_response_not_found"


class RouteNotFound(LlmdError):
    status = 404
    type = "invalid_request_error"
    code = "route_not_found"


class MethodNotAllowed(LlmdError):
    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"


class RequestTimeout(LlmdError):
    """The request came in too slowly, or had not begun to be answered when its time was over."""

    status = 408
    type = "timeout_error"
    code = "request_timeout"


class BodyTooLarge(LlmdError):
    status = 413
    type = "invalid_request_error"
    code = "body_too_large"


class QueueFull(LlmdError):
    """As many sequences run and wait as may. `retry_after` is in seconds."""

    status = 429
    type = "rate_limit_error"
    code = "queue_full"
    retry_after: int

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RateLimitExceeded(LlmdError):
    """A key has used up what it may use for now. `retry_after` is in seconds."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"
    retry_after: int

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class HeadTooLarge(LlmdError):
    """Request line and headers."""

    status = 431
    type = "invalid_request_error"
    code = "head_too_large"


class ServiceUnavailable(LlmdError):
    status = 503
    type = "unavailable_error"
    retry_after = 2


class ModelLoading(ServiceUnavailable):
    code = "model_loading"


class Draining(ServiceUnavailable):
    code = "draining"


class EngineFailed(LlmdError):
    """The engine could not finish this request; the message says whether it still runs."""

    code = "engine_failed"


class DaemonError(LlmdError):
    """What a running daemon told a command of ours: its words, its HTTP status (None where it told
    them in a stream) and its code.
    """

    code = "daemon_error"

    def __init__(
        self, message: str, *, answered: int | None = None, answered_code: str | None = None
    ) -> None:
        super().__init__(message)
        self.answered = answered
        self.answered_code = answered_code


class DaemonUnreachable(LlmdError):
    """Nobody answers where a command looks for a daemon."""

    code = "daemon_unreachable"


class PullFailed(LlmdError):
    """A model did not come whole from its hub. What had come of it stays, and the next pull goes on
    from there.
    """

    status = 502
    code = "pull_failed"


class HubUnreachable(PullFailed):
    """No network, offline mode, or a hub that is down or wants to be left alone for a while."""

    code = "hub_unreachable"


class HubRefused(PullFailed):
    """The model is gated or private, or the token is not accepted."""

    status = 403
    type = "invalid_request_error"
    code = "hub_refused"


class HubModelNotFound(PullFailed):
    """No such repository on the hub, or none of its files is the model that was asked for."""

    status = 404
    type = "invalid_request_error"
    code = "hub_model_not_found"


class NotEnoughDisk(PullFailed):
    status = 507
    code = "not_enough_disk"


class StartupError(LlmdError):
    code = "startup_failed"


class ConfigError(StartupError):
    code = "config_error"


class AddressInUse(StartupError):
    code = "address_in_use"


class ModelLoadError(StartupError):
    code = "model_load_failed"


class ModelFileNotFound(ModelLoadError):
    code = "model_file_not_found"


class InvalidModelFile(ModelLoadError):
    """Not a GGUF, a truncated or damaged one, or one of an unknown architecture."""

    code = "invalid_model_file"


class ContextRefused(ModelLoadError):
    """llama.cpp loads the model, but does not run it with these settings."""

    code = "context_refused"


class NotEnoughMemory(ModelLoadError):
    code = "not_enough_memory"
