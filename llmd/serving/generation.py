"""The use case of generating text, for every dialect."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import Any

from llmd.core.event import Event, Finished, PromptAdvanced, PromptEcho
from llmd.core.output import Output, PromptProgress, TokenLogprob
from llmd.core.request import ChatPrompt, GenerateRequest, TextPrompt
from llmd.core.sampling import SamplingParams
from llmd.engine.request import Request
from llmd.errors import InvalidRequest, LlmdError
from llmd.registry.instance import Lease, ModelInstance
from llmd.registry.registry import ModelRegistry
from llmd.serving.account import current_account
from llmd.serving.choice_reader import ChoiceReader, make_readers
from llmd.serving.constraint import hold
from llmd.serving.deadline import before, timed_out
from llmd.serving.prompt import EncodedPrompt, encode
from llmd.serving.recorded_generation import recorded_generation
from llmd.serving.thinking import thought_limits


class Generation:
    """A generation under way: an async iterator of events that ends after the last choice's
    Finished. Whoever holds it must call `close`, on every path.
    """

    def __init__(
        self,
        lease: Lease,
        request: GenerateRequest,
        prompts: tuple[EncodedPrompt, ...],
        engine_request: Request,
        readers: list[ChoiceReader],
        loosened: tuple[str, ...],
    ) -> None:
        """`lease` is its own from now on, unless this raises."""
        instance = lease.instance
        self.id = engine_request.id
        self.model_name = instance.name
        self.fingerprint = instance.model.fingerprint
        self.num_choices = request.num_choices
        """Of each prompt; `num_prompt_tokens` has one entry for each prompt."""
        self.num_prompt_tokens = tuple(len(prompt.token_ids) for prompt in prompts)
        self.repairs = tuple(dict.fromkeys(r for prompt in prompts for r in prompt.repairs))
        """What was changed in the messages so that the model's template takes them."""
        self.loosened = loosened
        """Where schemas that are not strict were loosened, as they could not be enforced whole."""
        self.sampling = engine_request.sampling.override({"seed": engine_request.seed})
        """What holds, the model's own defaults and the seed that was drawn included."""
        self.context_size = instance.model.context_size
        self._tokenizer = instance.model.tokenizer
        self._prompts = prompts
        self._request = request
        self._thoughts = instance.thoughts
        self._readers = readers
        self._lease = lease
        self._account = account = current_account()
        account.begin(self.id, sum(self.num_prompt_tokens))
        if account.recorder is not None:
            account.recorder.begin(
                recorded_generation(
                    instance, request, prompts, answer_id=self.id, sampling=self.sampling
                )
            )
        self._outputs = instance.client.submit(engine_request)
        self._timer = self._arm(request.deadline)

    @property
    def num_sequences(self) -> int:
        return len(self._prompts) * self.num_choices

    def is_first_choice(self, index: int) -> bool:
        """Whether sequence `index` is the first to continue its prompt."""
        return index % self.num_choices == 0

    def prompt_text(self, number: int) -> str:
        """Prompt `number` as the model got it, with its special tokens."""
        return self._tokenizer.decode(self._prompts[number].token_ids)

    async def events(self) -> AsyncIterator[Event]:
        """Raises EngineFailed when the engine ends before the generation does, or what `fail` was
        given.
        """
        request = self._request
        begun: set[int] = set()
        scored: dict[int, tuple[TokenLogprob | None, ...]] = {}
        if request.echo and request.top_logprobs is None:
            for index in range(self.num_sequences):
                yield self._echo(index, ())
        account, recorder = self._account, self._account.recorder
        try:
            async for output in self._outputs:
                account.note(output)
                if output.prompt_logprobs:
                    so_far = scored.get(output.index, ()) + output.prompt_logprobs
                    scored[output.index] = so_far
                    if len(so_far) == self.num_prompt_tokens[output.index // self.num_choices]:
                        yield self._echo(output.index, so_far)
                if output.progress is not None:
                    if output.index not in begun:
                        # The engine's first one may have been merged away, and clients count on it.
                        begun.add(output.index)
                        yield PromptAdvanced(output.index, _before(output.progress))
                    if output.progress.num_processed > output.progress.num_cached:
                        yield PromptAdvanced(output.index, output.progress)
                timings = output.timings if request.timings_per_token else None
                for delta in self._readers[output.index].read(output, timings):
                    if recorder is not None:
                        recorder.add_event(delta)
                    yield delta
                if output.finish_reason is not None:
                    yield self._finished(output)
        except LlmdError as error:
            account.error = error
            raise

    def close(self) -> None:
        """Stop it, wherever it is. A plain call, idempotent, for `finally` blocks."""
        if self._timer is not None:
            self._timer.cancel()
        self._outputs.abort()
        self._lease.release()

    def fail(self, error: LlmdError) -> None:
        """Stop it, and unless it is done let `events` end with `error`. A plain call."""
        if self._outputs.num_unfinished:
            self._outputs.abort()
            self._outputs.fail(error)

    def _arm(self, deadline: float | None) -> asyncio.TimerHandle | None:
        if deadline is None:
            return None
        left = deadline - time.monotonic()
        return asyncio.get_running_loop().call_later(left, self._run_out)

    def _run_out(self) -> None:
        # What was said is worth having, and clients know "length" as the end of a part.
        if self._outputs.has_begun:
            self._outputs.end()
        else:
            self.fail(timed_out())

    def _echo(self, index: int, logprobs: tuple[TokenLogprob | None, ...]) -> PromptEcho:
        number = index // self.num_choices
        token_ids = self._prompts[number].token_ids
        prompt = self._request.prompts[number]
        tokenizer = self._tokenizer
        # Of ids that a client sent it counts on finding each; of a text it finds what it wrote.
        text = prompt.text if isinstance(prompt, TextPrompt) else None
        if text == "" or (text is not None and self._has_own_beginning(text, token_ids)):
            token_ids, logprobs = token_ids[1:], logprobs[1:]
        pieces = [tokenizer.token_bytes(token_id) for token_id in token_ids]
        if text is not None and pieces and not text.startswith(" "):
            # SentencePiece vocabularies put a space in front.
            pieces[0] = pieces[0].removeprefix(b" ")
        return PromptEcho(index, tuple(pieces), logprobs)

    def _has_own_beginning(self, text: str, token_ids: tuple[int, ...]) -> bool:
        """Whether the vocabulary put a BOS before the text."""
        tokenizer = self._tokenizer
        begins = tokenizer.adds_bos and token_ids[0] == tokenizer.bos_id
        return begins and not text.startswith(tokenizer.bos_text)

    def _finished(self, output: Output) -> Finished:
        assert output.finish_reason is not None and output.timings is not None
        read = self._readers[output.index]
        self._thoughts.keep(self._request.tenant, read.call_ids, "".join(read.thoughts))
        finished = Finished(
            index=output.index,
            reason=output.finish_reason,
            timings=output.timings,
            num_calls=read.num_calls,
            num_reasoning=output.num_reasoning,
            stop_text=output.stop_text,
            error=output.error,
            is_request_fault=output.is_request_fault,
            # The others of a prompt found what the first one computed.
            cache_report=output.cache_report if self.is_first_choice(output.index) else None,
        )
        self._account.finish(finished, is_first_choice=self.is_first_choice(output.index))
        return finished


async def start_generation(registry: ModelRegistry, request: GenerateRequest) -> Generation:
    """Find the model, make token ids of the prompts and hand them to its engine. Everything that
    a client can have got wrong is raised here, before any byte of the answer, and RequestTimeout
    where all that takes too long.
    """
    async with before(request.deadline):
        lease = await registry.lease(request.model, request.keep_alive)
        current_account().model_name = lease.instance.name
        try:
            return await _start(lease, request)
        except BaseException:
            lease.release()
            raise


async def _start(lease: Lease, request: GenerateRequest) -> Generation:
    instance = lease.instance
    tokenizer = instance.model.tokenizer
    # Asked once more on submit; asked here, a busy daemon spends no time on prompts it cannot take.
    instance.client.check_room(len(request.prompts) * request.num_choices)
    is_kept = request.cache_prompt and not request.deterministic
    prompts = []
    for number, prompt in enumerate(request.prompts):
        try:
            encoded = await encode(
                instance,
                prompt,
                tenant=request.tenant,
                is_kept=is_kept,
                cache_report=request.cache_report,
            )
        except InvalidRequest as error:
            if len(request.prompts) > 1 and error.param == "prompt":
                error.param = f"prompt.{number}"
            raise
        prompts.append(encoded)
    readers = make_readers(instance.format, request, prompts)
    held = await hold(instance, request, in_thought=readers[0].in_thought)
    thought = thought_limits(
        instance.format,
        request.prompts[0],
        in_thought=readers[0].in_thought,
        encode=lambda text: tokenizer.encode_inside(text, parse_special=True),
    )
    engine_request = replace(
        _engine_request(instance, request, prompts), grammar=held.grammar, thought=thought
    )
    return Generation(lease, request, tuple(prompts), engine_request, readers, held.loosened)


def _engine_request(
    instance: ModelInstance, request: GenerateRequest, prompts: list[EncodedPrompt]
) -> Request:
    layouts = tuple(prompt.layout for prompt in prompts if prompt.layout is not None)
    sampling = _sampling(instance, request.sampling)
    return Request(
        id=secrets.token_hex(12),
        prompts=tuple(prompt.token_ids for prompt in prompts),
        sampling=sampling,
        seed=secrets.randbits(31) if sampling.seed is None else sampling.seed,
        num_choices=request.num_choices,
        max_tokens=request.max_tokens,
        max_generating_ms=request.max_generating_ms,
        stop=request.stop,
        top_logprobs=request.top_logprobs,
        prompt_logprobs=request.echo and request.top_logprobs is not None,
        scores_end=not any(isinstance(prompt, ChatPrompt) for prompt in request.prompts),
        timings_per_token=request.timings_per_token,
        layouts=layouts if len(layouts) == len(prompts) else (),
        scope=_scope(instance, request),
        tenant=request.tenant,
        priority=request.priority,
        cache_prompt=request.cache_prompt,
        deterministic=request.deterministic,
        return_progress=request.return_progress,
        cache_report=request.cache_report,
    )


def _before(progress: PromptProgress) -> PromptProgress:
    """As it was before anything was computed."""
    return replace(progress, num_processed=progress.num_cached, elapsed_ms=0.0)


def _scope(instance: ModelInstance, request: GenerateRequest) -> str:
    """Whose computed prefixes a request may share: those of its tenant, and for a chat those that
    the same template wrote. A name of fixed length, fit for a file.
    """
    is_chat = any(isinstance(prompt, ChatPrompt) for prompt in request.prompts)
    template = instance.template.source if is_chat else ""
    return blake2b(repr((request.tenant, template)).encode(), digest_size=16).hexdigest()


def _sampling(instance: ModelInstance, overrides: Mapping[str, Any]) -> SamplingParams:
    """The request's parameters over the model's, with every ban turned into a bias."""
    tokenizer = instance.model.tokenizer
    params = instance.model.sampling.override(overrides)
    banned = set(tokenizer.suppressed_ids)
    if params.ignore_eos:
        banned |= tokenizer.end_of_generation_ids
    for token_id, _ in params.logit_bias:
        if not 0 <= token_id < tokenizer.num_tokens:
            raise InvalidRequest(
                f"logit_bias names token {token_id}, which is not in the vocabulary. Use ids from "
                f"0 to {tokenizer.num_tokens - 1}.",
                param="logit_bias",
            )
    if not banned:
        return params
    bias = tuple((t, b) for t, b in params.logit_bias if t not in banned)
    bans = tuple((token_id, float("-inf")) for token_id in sorted(banned))
    return params.override({"logit_bias": bias + bans})
