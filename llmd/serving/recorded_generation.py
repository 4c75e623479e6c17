"""What a recording says of a generation that begins."""

from __future__ import annotations

from collections.abc import Sequence

from llmd.core.request import ChatPrompt, GenerateRequest
from llmd.core.sampling import SamplingParams
from llmd.recording.recording import RecordedGeneration, RecordedTemplate
from llmd.registry.instance import ModelInstance
from llmd.serving.prompt import EncodedPrompt


def recorded_generation(
    instance: ModelInstance,
    request: GenerateRequest,
    prompts: Sequence[EncodedPrompt],
    *,
    answer_id: str,
    sampling: SamplingParams,
) -> RecordedGeneration:
    """`sampling` is what holds, the seed included."""
    tokenizer = instance.model.tokenizer
    first = request.prompts[0]
    chat = first if isinstance(first, ChatPrompt) else None
    return RecordedGeneration(
        answer_id=answer_id,
        model=instance.name,
        fingerprint=instance.model.fingerprint,
        file=str(instance.model.path),
        sampling=sampling,
        max_tokens=request.max_tokens,
        stop=request.stop,
        num_choices=request.num_choices,
        prompts=tuple(
            tokenizer.decode(prompt.token_ids) if prompt.chat_text is None else prompt.chat_text
            for prompt in prompts
        ),
        num_prompt_tokens=tuple(len(prompt.token_ids) for prompt in prompts),
        tools=chat.tools if chat else (),
        splits_thoughts=chat.splits_thoughts if chat else True,
        template=_template(instance) if chat else None,
    )


def _template(instance: ModelInstance) -> RecordedTemplate:
    tokenizer = instance.model.tokenizer
    ends = map(tokenizer.token_text, tokenizer.end_of_generation_ids)
    return RecordedTemplate(
        source=instance.template.source,
        bos=tokenizer.bos_text,
        eos=tokenizer.eos_text,
        controls=frozenset(tokenizer.control_texts),
        markers=frozenset(tokenizer.marker_texts),
        ends=tuple(sorted(ends)),
    )
