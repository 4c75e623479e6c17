"""Finds in a dialogue's tokens where its calls and JSON objects are copied from."""

from __future__ import annotations

from dataclasses import dataclass

import toolbox
from guides import ASKED, CHOSEN, DESCRIBED, Guide, copied, find
from tokenizer import LETTERS, Tokenizer

SPACE = LETTERS[32]
SCHEMA = """
parameters type properties required items description title additionalProperties strict
""".split()


@dataclass(frozen=True, slots=True)
class Definition:
    """Where a tool stands: its name, its parameters, and what only its description says."""

    name: range
    parameters: range
    topic: tuple[int, ...]


class Tracer:
    """Finds guides; one is made for a vocabulary."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.described = tokenizer.encode('{"description": "')
        self.titled = tokenizer.encode(' "name": "')
        self.named = [tokenizer.encode(text) for text in ('<tool_call>\n{"name": "', "I call ")]
        self.asked = tokenizer.encode("<|im_start|>user\n")
        self.closed, self.listed, self.done = (
            tokenizer.ids[mark] for mark in ("<|im_end|>", "</tools>", "</tool_call>")
        )
        self.opening = {tokenizer.ids["assistant"], tokenizer.ids["</think>"]}
        self.brace, self.inner_brace = tokenizer.ids['{"'], tokenizer.ids[SPACE + '{"']
        self.schema = [tokenizer.encode(word) for word in SCHEMA]
        self.arguments = tokenizer.encode("arguments")
        tokens = list(enumerate(tokenizer.tokens))
        phrases = toolbox.FETCH_TEXT + toolbox.ACT_TEXT
        self.words = {i for i, t in tokens if len(t) > 1 and t.isalpha() and t[0] != SPACE}
        self.words -= {i for text in phrases for i in tokenizer.encode(text)}
        self.quotes = {i for i, token in tokens if token.startswith('"')}
        self.after_key = {i for i, token in tokens if token.startswith('":')}
        self.between = {i for i, token in tokens if set(token) & set('"{}[]') or token == ","}

    def trace(self, tokens: list[int], weights: list[float]) -> list[Guide]:
        """Return the guides of a dialogue; those of answers only where these have weight."""
        guides = [*self.calls(tokens), *self.objects(tokens)]
        return [guide for guide in guides if guide.kind == DESCRIBED or weights[guide.place + 1]]

    def calls(self, tokens: list[int]) -> list[Guide]:
        """Return the guides of tools' definitions and of their calls."""
        tools = self.tools(tokens) if self.listed in tokens else []
        guides = [guide for tool in tools for guide in self.owned(tokens, tool)]
        begin = 0
        for index in range(len(tokens)):
            if tokens[index - len(self.asked) : index] == self.asked:
                begin = index
            named = (tokens[index - len(words) : index] == words for words in self.named)
            if not begin or not any(named):
                continue
            asked = range(begin, tokens.index(self.closed, begin))
            for tool in tools:
                name = tokens[tool.name.start : tool.name.stop]
                end = index + len(name)
                if tokens[index:end] == name and tokens[end] not in self.words:
                    guides += self.call(tokens, range(index, end), tool, asked)
        return guides

    def call(self, tokens: list[int], name: range, tool: Definition, asked: range) -> list[Guide]:
        """Return the guides of a call whose name stands there, and of its arguments."""
        words = {tokens[i] for i in tool.topic}
        shared = tuple(i for i in asked if tokens[i] in words)
        guides = copied(name.start, tool.name.start, len(name), CHOSEN)
        if shared:
            guides.append(Guide(ASKED, name.start - 1, shared))
        if tokens[name.start - 1] in self.between:
            rest = range(name.stop, tokens.index(self.done, name.stop))
            guides += self.follow(tokens, rest, tool.parameters, asked)
            opened = next((i for i in rest if tokens[i] == self.inner_brace), rest.stop)
            guides.append(Guide(ASKED, opened, (*name, *shared)))
        return guides

    def owned(self, tokens: list[int], tool: Definition) -> list[Guide]:
        """Return the guides from a tool's name and arguments to what is said of the tool."""
        guides = [Guide(DESCRIBED, place, tool.topic) for place in tool.name if tool.topic]
        for start, stop, is_key in self.parts(tokens, tool.parameters):
            if is_key and tokens[start:stop] not in self.schema:
                guides.append(Guide(DESCRIBED, start, (*tool.name, *tool.topic)))
        return guides

    def objects(self, tokens: list[int]) -> list[Guide]:
        """Return the guides of answers that are JSON objects."""
        guides: list[Guide] = []
        for index in range(2, len(tokens)):
            if tokens[index] == self.brace and tokens[index - 2] in self.opening:
                answer = range(index, tokens.index(self.closed, index))
                guides += self.follow(tokens, answer, range(index), range(index))
        return guides

    def follow(self, tokens: list[int], answer: range, keys: range, values: range) -> list[Guide]:
        """Return the guides from an answer's keys and values to where they are copied from."""
        guides: list[Guide] = []
        for start, stop, is_key in self.parts(tokens, answer):
            part, source = tokens[start:stop], keys if is_key else values
            places = find(part, tokens, source.start, source.stop)
            if part != self.arguments and places and (is_key or len(places) == 1):
                guides += copied(start, places[0], len(part), CHOSEN)
        return guides

    def parts(self, tokens: list[int], places: range) -> list[tuple[int, int, bool]]:
        """Return start and end of every key and value of JSON, and whether it is a key."""
        found: list[tuple[int, int, bool]] = []
        begin = None
        for index in places:
            inside = tokens[index] not in self.between
            if inside and begin is None:
                begin = index
            elif not inside and begin is not None:
                found.append((begin, index, tokens[index] in self.after_key))
                begin = None
        return found

    def tools(self, tokens: list[int]) -> list[Definition]:
        """Return the tools that have a description."""
        spans: list[tuple[range, range]] = []
        described, end = 0, tokens.index(self.listed)
        for index in range(end):
            if tokens[index - len(self.described) : index] == self.described:
                described = index
            elif described and tokens[index - len(self.titled) : index] == self.titled:
                stop = next(i for i in range(index, len(tokens)) if tokens[i] in self.quotes)
                spans.append((range(index, stop), range(described, index - len(self.titled))))
                described = 0
        said = [{tokens[i] for i in place} & self.words for _, place in spans]
        tools: list[Definition] = []
        for number, (name, place) in enumerate(spans):
            others = set().union(*said[:number], *said[number + 1 :])
            topic = tuple(i for i in place if tokens[i] in said[number] - others)
            stop = spans[number + 1][1].start if number + 1 < len(spans) else end
            tools.append(Definition(name, range(name.stop, stop), topic))
        return tools
