"""Exchanges whose answer is a JSON object and nothing else."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import words
from scene import Expectation, Scene
from values import Values
from words import phrases


@dataclass(frozen=True)
class Fact:
    """A key, its JSON type and value, a sentence that states it, and a clause about a person."""

    key: str
    type: str
    value: Any
    sentence: str
    clause: str


def draw_fact(values: Values, name: str) -> Fact:
    """Draw one fact about the named person."""
    v = values
    age = v.rng.randint(1, 99)
    number = v.whole()
    amount = v.number()
    city, thing, word, job = v.city(), v.thing(), v.word(), v.listed(words.JOBS)
    key = v.plain() if v.chance(0.5) else v.listed(words.KEYS)
    email, language, flag = v.email(), v.listed(words.LANGUAGES), v.chance(0.5)
    rows = (
        ("age", "integer", age, "{n} is {v} years old.", "is {v}"),
        ("age", "integer", age, "{n} is {v}.", "is {v} years old"),
        ("city", "string", city, "{n} lives in {v}.", "lives in {v}"),
        ("city", "string", city, "{n} is from {v}.", "is from {v}"),
        ("job", "string", job, "{n} works as a {v}.", "works as a {v}"),
        ("job", "string", job, "{n} is a {v}.", "is a {v}"),
        ("email", "string", email, "The email of {n} is {v}.", "has the email {v}"),
        ("food", "string", thing, "{n} likes to eat {v}.", "likes to eat {v}"),
        ("pet", "string", word, "{n} has a pet called {v}.", "has a pet called {v}"),
        ("language", "string", language, "{n} speaks {v}.", "speaks {v}"),
        ("price", "number", amount, "The price is {v}.", "paid the price {v}"),
        ("order", "integer", number, "The order number is {v}.", "has the order number {v}"),
        (
            "member",
            "boolean",
            flag,
            "{n} is a member." if flag else "{n} is not a member.",
            "is a member" if flag else "is not a member",
        ),
        (key, "string", word, "The {k} is {v}.", "has the {k} {v}"),
        (key, "string", v.entity(), "The {k} of {n} is {v}.", "has the {k} {v}"),
        (key, "integer", number, "The {k} is {v}.", "has the {k} {v}"),
        (key, "number", amount, "The {k} of {n} is {v}.", "has the {k} {v}"),
    )
    key, kind, value, sentence, clause = v.rng.choice(rows)
    fill = {"n": name, "v": value, "k": key}
    return Fact(key, kind, value, sentence.format(**fill), clause.format(**fill))


def draw_facts(values: Values, count: int) -> list[Fact]:
    """Draw facts with different keys; the first names the person they are about."""
    name = values.name()
    facts = [
        Fact(
            "name",
            "string",
            name,
            values.pick((f"This is {name}.", f"Meet {name}.", f"The name is {name}.")),
            f"is {name}",
        )
    ]
    while len(facts) < count:
        fact = draw_fact(values, name)
        if all(fact.key != other.key for other in facts):
            facts.append(fact)
    return facts


def pair(values: Values) -> tuple[str, Any]:
    """Draw a key and a value of any JSON type."""
    v = values
    key = v.plain() if v.chance(0.35) else v.listed(words.KEYS)
    roll = v.rng.random()
    if roll < 0.35:
        return key, v.number()
    return key, v.chance(0.5) if roll < 0.42 else v.word() if roll < 0.7 else v.entity()


def pairs(values: Values, count: int) -> dict[str, Any]:
    """Draw an object of that many pairs."""
    found: dict[str, Any] = {}
    while len(found) < count:
        key, value = pair(values)
        found[key] = value
    return found


def listed(parts: list[str], values: Values) -> str:
    """Join parts as a sentence lists them."""
    if len(parts) == 1:
        return parts[0]
    return ", ".join(parts[:-1]) + values.pick((" and ", " and ", ", ")) + parts[-1]


def shown(value: object, quote: bool = False) -> str:
    """Write a value as a user does."""
    if isinstance(value, bool):
        return json.dumps(value)
    return f'"{value}"' if quote and isinstance(value, str) else str(value)


def keys_and_person(values: Values) -> tuple[str, dict[str, Any]]:
    """Ask for named keys about a person whose facts are given."""
    v = values
    facts = draw_facts(v, v.rng.choice((2, 2, 2, 3)))
    name = facts[0].value
    clauses = " and ".join(fact.clause for fact in facts[1:])
    keys = listed([fact.key for fact in facts], v)
    text = " ".join(fact.sentence for fact in facts[1:])
    told = f"{name} {clauses}."
    ask = v.pick(
        (
            f"Reply with a JSON object with the keys {keys} for {name}, who {clauses}.",
            f"Write a JSON object with the keys {keys} for {name}, who {clauses}.",
            f"Give me JSON with {keys} for {name}, who {clauses}.",
            f"Return JSON with the keys {keys}: {told}",
            f"Extract {keys} as JSON: {told}",
            f"Extract the {keys} as JSON. {told}",
            f"{told} Write this as JSON with the keys {keys}.",
            f"Extract {keys} from this text as JSON: {told}",
            f"Answer in JSON with {keys}. {told}",
            f"Extract the {keys} from: {told} Reply with JSON only.",
        )
    )
    if v.chance(0.2) and all(name in fact.sentence for fact in facts[1:]):
        ask = f"Extract {keys} as JSON: {text}"
    return ask, {fact.key: fact.value for fact in facts}


def keys_and_values(values: Values) -> tuple[str, dict[str, Any]]:
    """Give keys with their values and ask for the object."""
    v = values
    found = pairs(v, v.rng.choice((1, 2, 2, 3, 4)))
    if v.chance(0.08):
        literal = json.dumps(found, ensure_ascii=False)
        return v.pick(
            phrases("""
            Reply with {} | Reply with this JSON: {} | Say {} | Repeat: {} | Reply
            with exactly {}
        """)
        ).format(literal), found
    quote = v.chance(0.3)
    style = v.pick(("{k} {v}", "{k} {v}", "{k} is {v}", "{k}: {v}", "{k} = {v}", "{k} set to {v}"))
    text = listed(
        [
            style.format(k=f'"{key}"' if quote else key, v=shown(value, quote))
            for key, value in found.items()
        ],
        v,
    )
    ask = v.pick(
        phrases("""
        Write a JSON object with {}. | Write JSON: {} | Give me JSON: {} | As JSON: {} |
        Make a JSON object where {}. | Turn this into JSON: {} | Return a JSON object
        with {}. | Reply with JSON only: {} | Convert to JSON: {} | Reply with a JSON
        object with {}. | I need a JSON object with {} | Output JSON with {} | {}. Write
        that as JSON.
    """)
    )
    return ask.format(text), found


def nested(values: Values) -> tuple[str, dict[str, Any]]:
    """Ask for an object within an object."""
    v = values
    inner = pairs(v, v.rng.choice((1, 2, 2)))
    key = v.plain() if v.chance(0.3) else v.listed(words.ENTITIES)
    text = listed([f"{k} {shown(value)}" for k, value in inner.items()], v)
    ask = v.pick(
        phrases("""
        Write a JSON object with a key {k} that holds an object with {t}. | Reply with
        JSON: {k} is an object with {t}. | Give me nested JSON: {k} holds {t}. | Return
        a JSON object with one key {k}, which holds {t}.
    """)
    )
    return ask.format(k=key, t=text), {key: inner}


def with_list(values: Values) -> tuple[str, dict[str, Any]]:
    """Ask for an object that holds a list."""
    v = values
    items = [v.word() for _ in range(v.rng.randint(2, 4))]
    key = v.pick(("items", "words", "list", "names", "tags", "things", v.plain()))
    ask = v.pick(
        phrases("""
        Write a JSON object with a key {k} that lists {t}. | Reply with JSON: {k} is the
        list {t}. | Give me JSON with a list {k} of {t}. | Return a JSON object with the
        list {k} holding {t}.
    """)
    )
    return ask.format(k=key, t=listed(items, v)), {key: items}


def schema_of(values: Values, facts: list[Fact]) -> dict[str, Any]:
    """Write a JSON schema for the facts as structured-output clients do."""
    titled = values.chance(0.3)
    properties = {
        fact.key: {"type": fact.type} | ({"title": fact.key.title()} if titled else {})
        for fact in facts
    }
    schema: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "required": [fact.key for fact in facts],
    }
    if values.chance(0.4):
        schema["additionalProperties"] = False
    if titled:
        schema["title"] = "Answer"
    return schema


def by_schema(scene: Scene) -> None:
    """Give a schema and facts; the answer is the object."""
    v = scene.values
    facts = draw_facts(v, v.rng.choice((2, 2, 3)))
    schema = json.dumps(schema_of(v, facts), ensure_ascii=False)
    text = v.pick(
        (
            f"{facts[0].value} {' and '.join(fact.clause for fact in facts[1:])}.",
            " ".join(fact.sentence for fact in facts),
        )
    )
    ask = v.pick(
        phrases("""
        Answer as JSON with this schema: {} | Reply with JSON that fits this schema: {}
        | Respond in JSON with the schema {} | Use this JSON schema: {}
    """)
    ).format(schema)
    if v.chance(0.5) and not scene.messages:
        scene.messages.append({"role": "system", "content": ask})
        scene.user(text)
    else:
        scene.user(f"{text} {ask}" if v.chance(0.5) else f"{ask}\n\n{text}")
    finish(scene, {fact.key: fact.value for fact in facts})


def finish(scene: Scene, found: dict[str, Any]) -> None:
    """Answer with the object."""
    keys = ", ".join(found)
    scene.assistant(json.dumps(found, ensure_ascii=False), f"I write JSON with {keys}.")
    scene.expect = Expectation("json", found)


def write_json(scene: Scene) -> None:
    """Ask for JSON in one of the ways above."""
    v = scene.values
    maker = v.rng.choices(
        (keys_and_person, keys_and_values, nested, with_list, None), (4, 4, 1, 1, 2.5)
    )[0]
    if maker is None:
        by_schema(scene)
        return
    ask, found = maker(v)
    scene.user(ask)
    finish(scene, found)
