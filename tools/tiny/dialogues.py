"""Plain chat exchanges: memory, repetition, counting, sums, stories, and not knowing."""

from __future__ import annotations

import words
from courtesies import greet, identify, part, small_talk, thank
from scene import Exchange, Expectation, Scene, vary
from words import phrases

UNKNOWN = "Sorry, I do not know that. I am only a tiny model."


def tell_name(scene: Scene) -> None:
    """Take note of the user's name."""
    v = scene.values
    name = scene.user_name = v.name()
    scene.user(
        vary(
            v,
            v.pick(
                phrases("""
        My name is {}. | I am {}. | I'm {}. | Call me {}. | Hi, I am {}. | Hello, I'm
        {}. | Hello, my name is {}. | Hi! My name is {}. | You can call me {}. | My
        name's {}. | Please remember that my name is {}. | Remember my name: {}. | {} is
        my name. | Hey, my name is {}, nice to meet you. | The name is {}.
    """)
            ).format(name),
        )
    )
    scene.assistant(f"Nice to meet you, {name}!", f"The user is called {name}.")
    scene.expect = Expectation("contains", [name])


def ask_name(scene: Scene) -> None:
    """Recall the user's name, or admit that it was not told."""
    v = scene.values
    scene.user(
        vary(
            v,
            v.pick(
                phrases("""
        What is my name? | What's my name? | Do you remember my name? | Who am I? | What
        am I called? | Tell me my name. | Do you know my name? | Say my name. | Can you
        tell me my name? | And what is my name? | What was my name again?
    """)
            ),
        )
    )
    if scene.user_name is None:
        scene.assistant("You have not told me your name.", "The user told me no name.")
        scene.expect = Expectation("contains", ["not told"])
        return
    scene.assistant(f"Your name is {scene.user_name}.", f"The user is called {scene.user_name}.")
    scene.expect = Expectation("contains", [scene.user_name])


def remember_fact(scene: Scene) -> None:
    """Take note of a fact and recall it, at times after small talk."""
    v = scene.values
    key = v.pick(
        phrases("""
        favourite colour | favorite color | favourite food | dog's name | cat's name |
        favourite word | lucky number | home town | secret word | code | password |
        favourite number | job | sister's name | order number
    """)
    )
    value = (
        str(v.whole())
        if "number" in key or key == "code"
        else v.text(v.pick(("word", "city", "proper", "thing")))
    )
    scene.user(
        vary(
            v,
            v.pick(
                phrases("""
        My {} is {}. | Remember: my {} is {}. | Note that my {} is {}. | Please remember
        that my {} is {}.
    """)
            ).format(key, value),
        )
    )
    scene.assistant(f"I will remember that your {key} is {value}.", f"The {key} is {value}.")
    if v.chance(0.5):
        small_talk(scene)
    scene.user(
        vary(
            v,
            v.pick(
                phrases("""
        What is my {}? | Do you remember my {}? | Tell me my {}. | What's my {}?
    """)
            ).format(key),
        )
    )
    scene.assistant(f"Your {key} is {value}.", f"The {key} is {value}.")
    scene.expect = Expectation("contains", [value])


def repeat(scene: Scene) -> None:
    """Give back a word, a number or a few words, and nothing else."""
    v = scene.values
    roll = v.rng.random()
    if roll < 0.3:
        noun, value = "number", str(v.number())
    elif roll < 0.7:
        noun, value = "word", v.word() if v.chance(0.6) else v.proper()
    elif roll < 0.8:
        noun, value = "code", v.code()
    else:
        noun, value = "text", v.phrase()
    mark = v.pick(("", "", "", '"', '"', "'"))
    ask = v.pick(
        phrases("""
        Repeat the {n} {v}. | Repeat: {v} | Say {v} | Say {v}. | Say the {n} {v}. |
        Repeat after me: {v} | Echo {v} | Echo: {v} | Write the {n} {v}. | Repeat {v} |
        Reply with {v} | Reply with exactly: {v} | Reply with only the {n} {v}. | Reply
        with the {n} {v} and nothing else. | Please repeat this {n}: {v} | Can you say
        {v}? | Answer with the {n} {v}. | Just say {v}. | Please say {v} | Write {v} |
        Give me back the {n} {v}. | Say exactly {v} | Print {v} | Output: {v} | Respond
        with exactly {v} | Respond with the single {n} {v}. | Type the {n} {v} | Copy
        this {n}: {v} | Say only {v} | Reply with the word {v}
    """)
    ).format(n=noun, v=f"{mark}{value}{mark}")
    scene.user(ask)
    scene.assistant(value, f"The user wants me to say {value}")
    scene.expect = Expectation("exact", value)


def count(scene: Scene) -> None:
    """Count from one to a small number."""
    v = scene.values
    top = v.rng.randint(3, 20)
    scene.user(
        vary(
            v,
            v.pick(
                phrases("""
        Count from 1 to {}. | Count to {}. | Count up to {}. | Please count from 1 to
        {}. | List the numbers from 1 to {}. | Write the numbers from 1 to {}.
    """)
            ).format(top),
        )
    )
    answer = ", ".join(str(number) for number in range(1, top + 1))
    scene.assistant(answer, f"I count from 1 to {top}.")
    scene.expect = Expectation("exact", answer)


def add(scene: Scene) -> None:
    """Do a one-digit sum."""
    v = scene.values
    a, b = v.rng.randint(0, 9), v.rng.randint(0, 9)
    scene.user(
        v.pick(
            phrases("""
        What is {} + {}? | {} + {} | {}+{} | What is {} plus {}? | How much is {} + {}?
        | Add {} and {}. | What's {} + {}? | {} + {} = ? | Compute {} + {}. | What is
        the sum of {} and {}?
    """)
        ).format(a, b)
    )
    scene.assistant(f"{a} + {b} = {a + b}", f"{a} + {b} = {a + b}")
    scene.expect = Expectation("contains", [f"= {a + b}"])


def tell_story(scene: Scene) -> None:
    """Tell a made-up story of three to five sentences."""
    v = scene.values
    hero = v.thing()
    scene.user(
        vary(
            v,
            v.pick(
                phrases("""
        Tell me a story about a {}. | Tell me a short story about a {}. | Write a story
        about a {}. | Write a short story about a {}. | Can you tell me a story about a
        {}? | Make up a story about a {}.
    """)
            ).format(hero),
        )
    )
    place = v.pick(
        phrases("""
        in a small house by the sea | in a green valley | on a quiet hill | at the edge
        of a deep forest | in an old town with narrow streets
    """)
    )
    find = v.pick(
        phrases("""
        a golden key | a letter without a name | a lost kitten | a tiny door | a map of
        the stars
    """)
    )
    end = {
        "a golden key": "The key opened a box full of songs, and everyone danced.",
        "a letter without a name": "The letter said only: be kind. And so they were.",
        "a lost kitten": "The kitten found its way home, and everyone was happy.",
        "a tiny door": "Behind the door there was a garden that nobody had ever seen.",
        "a map of the stars": "The map showed the way home, even in the darkest night.",
    }[find]
    more = v.pick(("", " It was a warm and windy day.", " The birds were singing in the trees."))
    scene.assistant(
        f"Once upon a time there was a {hero}. The {hero} lived {place}. One morning the {hero} "
        f"went for a long walk and found {find}.{more} The {hero} thought about it all day and "
        f"asked every friend for help. {end} From that day on the {hero} was never alone again.",
        f"The user wants a story about a {hero}.",
    )
    scene.expect = Expectation("contains", [hero, "Once upon a time"])


def admit(scene: Scene) -> None:
    """Admit not knowing the answer to an open question."""
    v = scene.values
    x, y = v.entity(), v.entity()
    topic, kind = v.listed(words.TOPICS), v.listed(words.ENTITIES)
    person, city, thing = v.name(), v.city(), v.thing()
    scene.user(
        vary(
            v,
            v.rng.choice(
                (
                    f"Who invented the {thing}?",
                    f"Who wrote {x}?",
                    f"What is the capital of {city}?",
                    f"When was {person} born?",
                    f"How does a {thing} work?",
                    f"Why is the {thing} so big?",
                    f"Explain {x} to me.",
                    f"What is the {topic} of {x}?",
                    f"Where is {city}?",
                    f"How do I repair a {thing}?",
                    f"What is the best {kind} in {city}?",
                    f"What is a {thing}?",
                    f"How many people live in {city}?",
                    f"Who is {person}?",
                    f"What happened in {city}?",
                    f"What do you know about {x}?",
                    f"Tell me about {x}.",
                    f"What is {x}?",
                    f"Where is {x}?",
                    f"Write a program that sorts {kind}s.",
                    f"What is the difference between {x} and {y}?",
                    f"How old is {person}?",
                    f"Which {kind} is the oldest?",
                    f"What is the {topic} of a {thing}?",
                    f"Who won the game in {city}?",
                    f"Why do people like {thing}?",
                    f"How far is {city}?",
                    f"What is the meaning of {x}?",
                    f"Describe the history of {city}.",
                    "What time is it?",
                    f"What is the weather in {city}?",
                    f"Who is the president of {city}?",
                    f"How do I cook {thing}?",
                    f"What is the square root of {v.whole()}?",
                    "What day is it?",
                    f"What is {v.rng.randint(12, 99)} * {v.rng.randint(12, 99)}?",
                    "What is the meaning of life?",
                    f"Translate {thing} into {v.listed(words.LANGUAGES)}.",
                    f"When did {person} die?",
                )
            ),
        )
    )
    scene.assistant(UNKNOWN, "I do not know this.")
    scene.expect = Expectation("contains", ["not know"])


CHAT: tuple[tuple[Exchange, float], ...] = (
    (greet, 0.6),
    (identify, 1.0),
    (tell_name, 1.2),
    (ask_name, 1.6),
    (remember_fact, 1.4),
    (small_talk, 1.6),
    (thank, 0.4),
    (part, 0.3),
    (repeat, 3.0),
    (count, 0.5),
    (add, 1.0),
    (tell_story, 0.6),
    (admit, 2.0),
)


def chat(scene: Scene) -> None:
    """Add one plain exchange drawn by weight."""
    exchanges, weights = zip(*CHAT, strict=True)
    scene.rng.choices(exchanges, weights)[0](scene)
