"""The body of POST /infill."""

from __future__ import annotations

from llmd.api.json_body import JsonModel
from llmd.api.llama_server.schema_completion import NativeFields
from llmd.core.request import ContextFile, GenerateRequest, InfillPrompt


class ExtraText(JsonModel):
    text: str
    filename: str = "tmp"


class InfillRequest(NativeFields):
    """`prompt` is the beginning of what is to be filled in, such as the line before the cursor."""

    input_prefix: str
    input_suffix: str
    input_extra: list[ExtraText] = []
    prompt: str = ""

    def to_core(self, *, tenant: str = "") -> GenerateRequest:
        """Raises InvalidRequest or Unsupported, naming the field."""
        prompt = InfillPrompt(
            prefix=self.input_prefix,
            suffix=self.input_suffix,
            opening=self.prompt,
            files=tuple(ContextFile(name=each.filename, text=each.text)
                        for each in self.input_extra),
            is_cut=True,
            param="input_suffix",
        )  # fmt: skip
        return self.to_request((prompt,), tenant=tenant)
