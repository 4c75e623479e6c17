"""The Jinja that chat templates are written for: Hugging Face's environment, in a bounded sandbox.

Source: `_compile_jinja_template` of transformers/utils/chat_template_utils.py, plus what published
templates need beyond it: `safe` leaves text alone, text + undefined is the text, `tojson` takes
generators, `from_json`, and lists may be appended to.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any

from jinja2 import Undefined, nodes
from jinja2.compiler import CodeGenerator, Frame, operators
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import SandboxedEnvironment

from llmd.chat.prompt.budget import MAX_NUMBER_BITS, MAX_WIDTH, BudgetExceeded, current_budget

_WIDE_FORMAT = re.compile(r"\d{5,}|\*|\{[^{}]*\{")
_WIDTH_FILTERS = frozenset(
    {"batch", "center", "indent", "round", "slice", "tojson", "truncate", "wordwrap"}
)
_PRINTING_FILTERS = frozenset(
    {"capitalize", "center", "e", "escape", "forceescape", "format", "indent", "join", "lower"}
    | {"pprint", "replace", "string", "striptags", "title", "trim", "truncate", "upper"}
    | {"urlencode", "wordcount", "wordwrap"}
)
_COMPARING_FILTERS = frozenset({"dictsort", "groupby", "max", "min", "sort", "unique"})
_COMPARING_TESTS = frozenset(
    {"eq", "equalto", "==", "ne", "!=", "in"}
    | {"ge", ">=", "gt", "greaterthan", ">", "le", "<=", "lt", "lessthan", "<"}
)
_UNBOUNDED_FILTERS = ("urlize", "xmlattr")
_UNBOUNDED_METHODS = frozenset({"expandtabs", "format_map", "to_bytes", "translate"})
_WIDTH_METHODS = frozenset({"center", "ljust", "rjust", "zfill"})


class TemplateRaised(TemplateError):
    """The template's own `raise_exception(message)`."""


class _Generation(Extension):
    """`{% generation %}` marks what a trainer counts; to a server it is transparent."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _BoundedCodeGenerator(CodeGenerator):
    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        # Stock Jinja compiles `a ~ b` to a plain join that no sandbox sees.
        self.write("environment.join_texts((")
        for operand in node.nodes:
            self.visit(operand, frame)
            self.write(", ")
        self.write("))")

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:
        # Lists that hold the same lists many times take for ever to compare.
        self.write("(")
        self._visit_weighed(node.expr, frame)
        for operand in node.ops:
            self.write(f" {operators[operand.op]} ")
            self._visit_weighed(operand.expr, frame)
        self.write(")")

    def _visit_weighed(self, node: nodes.Expr, frame: Frame) -> None:
        is_constant = isinstance(node, nodes.Const)
        self.write("(" if is_constant else "environment.weighed(")
        self.visit(node, frame)
        self.write(")")


class TemplateEnvironment(SandboxedEnvironment):
    """Compiles chat templates. Rendering spends the current RenderBudget; a template that does
    what it may not raises a jinja2 error. Safe to share between threads once built.
    """

    code_generator_class = _BoundedCodeGenerator
    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_Generation, "jinja2.ext.loopcontrols"],
            finalize=self.weighed,
        )
        for name in _UNBOUNDED_FILTERS:
            del self.filters[name]
        del self.globals["lipsum"]
        self.globals["raise_exception"] = raise_exception
        self.globals["from_json"] = from_json
        self.filters.update(tojson=to_json, from_json=from_json, safe=_identity)
        for name, function in self.filters.items():
            self.filters[name] = _bounded_filter(name, function)
        for name in _COMPARING_TESTS & self.tests.keys():
            self.tests[name] = _bounded_test(self.tests[name])

    def _generate(
        self,
        source: nodes.Template,
        name: str | None,
        filename: str | None,
        defer_init: bool = False,
    ) -> str:
        for loop in list(source.find_all(nodes.For)):
            pace = nodes.EnvironmentAttribute("paced", lineno=loop.lineno)
            loop.iter = nodes.Call(pace, [loop.iter], [], None, None, lineno=loop.lineno)
            loop.iter.set_environment(self)
        return super()._generate(source, name, filename, defer_init)

    @staticmethod
    def paced(iterable: Iterable[Any]) -> Iterator[Any]:
        """The same items, each counted as a step."""
        budget = current_budget()
        for item in iterable:
            budget.step()
            yield item

    @staticmethod
    def weighed(value: object) -> object:
        """`value`, once it is known to be of a bounded size."""
        if isinstance(value, dict | list | tuple | set):
            current_budget().weigh(value)
        return value

    @staticmethod
    def concat(texts: Iterable[str]) -> str:
        """What Jinja joins the output of a template, a macro or a block with."""
        pieces = list(texts)
        current_budget().hold(sum(map(len, pieces)))
        return "".join(pieces)

    @classmethod
    def join_texts(cls, values: Iterable[object]) -> str:
        return cls.concat(str(cls.weighed(value)) for value in values)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        budget = current_budget()
        if operator == "+":
            if isinstance(left, Undefined) and isinstance(right, str):
                return right
            if isinstance(right, Undefined) and isinstance(left, str):
                return left
            if isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple):
                budget.hold(len(left) + len(right))
        elif operator == "*":
            if isinstance(left, int) and isinstance(right, int):
                _check_bits(left.bit_length() + right.bit_length())
            for many, times in ((left, right), (right, left)):
                if isinstance(many, str | list | tuple) and isinstance(times, int):
                    budget.hold(len(many) * max(times, 0))
        elif operator == "**":
            if isinstance(left, int) and isinstance(right, int):
                _check_bits(left.bit_length() * abs(right))
        elif isinstance(left, str):
            _hold_format(left, left.count("%"), right)
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: B902
        budget = current_budget()
        budget.step()
        if isinstance(__obj, LoopContext):
            # The inner level of a recursive loop is called with its items.
            args = (__self.paced(args[0]), *args[1:]) if args else args
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str | list | dict | int):
            _check_method(owner, __obj.__name__, args)
        result = super().call(__context, __obj, *args, **kwargs)
        if isinstance(result, str | list):
            budget.hold(len(result))
        return result

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        wrapped = super().wrap_str_format(value)
        if wrapped is None:
            return None

        @wraps(wrapped)
        def bounded(*args: Any, **kwargs: Any) -> str:
            text = value.__self__
            _hold_format(text, text.count("{"), (*args, *kwargs.values()))
            return wrapped(*args, **kwargs)

        return bounded


def raise_exception(message: object) -> None:
    raise TemplateRaised(str(TemplateEnvironment.weighed(message)))


def to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as Hugging Face's `tojson` writes it: not HTML-safe, not ASCII, keys in their order."""
    if isinstance(value, Iterator):
        value = list(value)
    current_budget().weigh(value)
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
        default=_items,
    )


def from_json(text: str) -> Any:
    return json.loads(text)


def _items(value: object) -> list[Any]:
    if isinstance(value, Iterator):
        return list(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _identity(value: object) -> object:
    return value


def _check_bits(num_bits: int) -> None:
    if num_bits > MAX_NUMBER_BITS:
        raise BudgetExceeded(f"it makes a number of more than {MAX_NUMBER_BITS} bits")


def _check_widths(values: Iterable[object]) -> None:
    for value in values:
        if isinstance(value, int) and abs(value) > MAX_WIDTH:
            raise BudgetExceeded(f"it asks for a width of {value}, more than {MAX_WIDTH}")


def _hold_format(text: str, num_fields: int, values: object) -> None:
    if _WIDE_FORMAT.search(text):
        raise BudgetExceeded("it formats text to a width of its own making")
    budget = current_budget()
    budget.hold(len(text) + num_fields * budget.weigh(values))


def _hold_join(separator: object, items: object) -> None:
    if isinstance(items, list | tuple):
        budget = current_budget()
        budget.hold(budget.weigh(items) + len(items) * budget.weigh(separator))


def _hold_replace(text: str, old: object, new: object) -> None:
    num_found = text.count(str(old))
    current_budget().hold(len(text) + num_found * len(str(new)))


def _hold_lines(text: str, options: Iterable[object]) -> None:
    widths = [len(option) if isinstance(option, str) else option for option in options]
    widest = max((width for width in widths if isinstance(width, int)), default=4)
    current_budget().hold(len(text) + (text.count("\n") + 1) * widest)


def _check_method(owner: object, name: str, args: tuple[Any, ...]) -> None:
    if name in _UNBOUNDED_METHODS:
        raise SecurityError(f"{name}() is not allowed in a chat template")
    if name in _WIDTH_METHODS:
        _check_widths(args)
    elif name == "extend" and isinstance(owner, list) and args:
        current_budget().hold(len(owner) + current_budget().weigh(args[0]))
    elif isinstance(owner, str) and name == "join" and args:
        _hold_join(owner, args[0])
    elif isinstance(owner, str) and name == "replace" and len(args) > 1:
        _hold_replace(owner, args[0], args[1])


def _bounded_test(test: Any) -> Callable[..., Any]:
    def bounded(value: object, *others: object) -> Any:
        return test(TemplateEnvironment.weighed(value), *others)

    return bounded


def _bounded_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` with its costs held against the budget."""
    num_leading = 1 if hasattr(function, "jinja_pass_arg") else 0

    # `wraps` also carries over which of context and environment Jinja passes first.
    @wraps(function)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        budget = current_budget()
        budget.step()
        value, *options = args[num_leading:] or (None,)
        if name in _PRINTING_FILTERS or name in _COMPARING_FILTERS:
            budget.weigh(value)
        if name in _WIDTH_FILTERS:
            _check_widths((*options, *kwargs.values()))
        if name in ("indent", "wordwrap"):
            _hold_lines(str(value), (*options, *kwargs.values()))
        elif name == "replace" and len(options) > 1:
            _hold_replace(str(value), options[0], options[1])
        elif name == "join":
            _hold_join(options[0] if options else "", value)
        elif name == "format" and isinstance(value, str):
            _hold_format(value, value.count("%"), (*options, *kwargs.values()))
        result = function(*args, **kwargs)
        if isinstance(result, str | list):
            budget.hold(len(result))
        return result

    return bounded
