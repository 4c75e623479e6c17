"""What went wrong with a hub, in words that end with the cure."""

from __future__ import annotations

from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from llmd.errors import HubModelNotFound, HubRefused, HubUnreachable, PullFailed

# The root of the errors of the HTTP library beneath, which is another one since version 2.
TRANSPORT_ERRORS: tuple[type[Exception], ...] = (HfHubHTTPError.__bases__[0], OfflineModeIsEnabled)

_PASSING = (408, 425, 429)


def is_passing(error: Exception) -> bool:
    """Whether the same request may well succeed a moment later."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in _PASSING or error.response.status_code >= 500
    return not isinstance(error, OfflineModeIsEnabled)


def not_a_hub(endpoint: str) -> PullFailed:
    return PullFailed(
        f"{endpoint} does not answer as a hub does. Check HF_ENDPOINT, and that no proxy or login "
        f"page stands before it."
    )


def explain(
    error: Exception, endpoint: str, repo: str, path: str, *, has_token: bool
) -> PullFailed:
    """The error to raise for `error`, one of TRANSPORT_ERRORS, that came while `path` of `repo` was
    asked for; the path is empty where the repository itself was.
    """
    if isinstance(error, OfflineModeIsEnabled):
        return HubUnreachable(
            f"{repo} cannot be pulled in offline mode. Unset HF_HUB_OFFLINE to allow it."
        )
    if isinstance(error, HfHubHTTPError):
        return _explain_status(error, endpoint, repo, path, has_token)
    reason = str(error).strip() or type(error).__name__
    return HubUnreachable(
        f"cannot reach {endpoint}: {reason.splitlines()[0]}. Check the network connection, and "
        f"HF_ENDPOINT for a mirror."
    )


def _explain_status(
    error: HfHubHTTPError, endpoint: str, repo: str, path: str, has_token: bool
) -> PullFailed:
    status = error.response.status_code
    if isinstance(error, GatedRepoError):
        then = (
            "with the account of your token, or wait until you are let in"
            if has_token
            else "and set HF_TOKEN to a token of your account"
        )
        return HubRefused(f"{repo} is gated. Accept its conditions at {endpoint}/{repo} {then}.")
    if isinstance(error, DisabledRepoError):
        return HubRefused(f"the hub has disabled {repo}. Choose another model.")
    if isinstance(error, RepositoryNotFoundError) or (status == 404 and not path):
        right = "that your token may read it" if has_token else "set HF_TOKEN if it is private"
        return HubModelNotFound(
            f"there is no {repo} on {endpoint}, or it is private. Check the name, and {right}."
        )
    if isinstance(error, (EntryNotFoundError, RevisionNotFoundError)) or status in (404, 410, 416):
        return HubModelNotFound(
            f"the hub no longer has {path or repo} as it was listed. Run it again."
        )
    if status == 401:
        return HubRefused(
            "the hub does not accept your token. Set HF_TOKEN to a valid one, or unset it and run "
            "`hf auth logout` where none is needed."
        )
    if status == 403:
        return HubRefused(
            f"your token may not read {repo}. Give it read access to the repository in the hub's "
            f"settings of tokens."
            if has_token
            else f"{endpoint} refuses {repo} to who has no token. Set HF_TOKEN."
        )
    if status == 429:
        return HubUnreachable(
            f"{endpoint} has had too many requests from here. Wait some minutes, or set HF_TOKEN, "
            f"with which more are allowed."
        )
    if status >= 500:
        return HubUnreachable(f"{endpoint} is in trouble (HTTP {status}). Try again later.")
    return PullFailed(
        f"{endpoint} answered HTTP {status} for {path or repo}. Check the name and HF_ENDPOINT."
    )
