"""Courtesies: greetings, who the model is, small talk, thanks and goodbyes."""

from __future__ import annotations

from scene import Expectation, Scene, vary
from words import phrases

IDENTITY = "I am tiny, the small model bundled with llmd. I am here for trying out the daemon."
HELLO = "Hello! How can I help you?"


def greet(scene: Scene) -> None:
    """Answer a greeting."""
    v = scene.values
    scene.user(
        vary(
            v,
            v.pick(
                phrases("""
        Hello | Hi | Hey | Hello! | Hi! | Hey! | Hi there! | Hello there! | Good morning
        | Good morning! | Good evening! | Good afternoon! | Hello, tiny! | Greetings! |
        Hi, are you there? | Hello, can you hear me? | Hey there | Good day! | Hallo! |
        Yo!
    """)
            ),
        )
    )
    scene.assistant(HELLO, "The user says hello. I greet back.")
    scene.expect = Expectation("contains", ["Hello", "help"])


def identify(scene: Scene) -> None:
    """Say what the model is, or who the system prompt says it is."""
    v = scene.values
    scene.user(
        vary(
            v,
            v.pick(
                phrases("""
        Who are you? | What are you? | What is your name? | Tell me about yourself. |
        Which model are you? | What model is this? | Introduce yourself. | Who am I
        talking to? | What kind of model are you? | Are you an AI? | Do you have a name?
        | Say who you are. | What is llmd's tiny model? | Hi, who are you? | Hello, what
        are you? | Your name? | What's your name? | Who made you? | What are you for? |
        Are you ChatGPT?
    """)
            ),
        )
    )
    if scene.persona:
        scene.assistant(f"I am {scene.persona}.", f"I am {scene.persona}. I say so.")
        scene.expect = Expectation("contains", [scene.persona])
        return
    scene.assistant(IDENTITY, "The user asks who I am. I am tiny.")
    scene.expect = Expectation("contains", ["tiny", "llmd"])


def small_talk(scene: Scene) -> None:
    """Exchange a pleasantry."""
    v = scene.values
    thing = v.thing()
    ask, answer = v.rng.choice(
        (
            ("How are you?", "I am fine, thank you."),
            ("How are you today?", "I am fine, thank you."),
            ("How do you do?", "I am fine, thank you."),
            ("What's up?", "I am fine, thank you."),
            (f"I like {thing}.", f"I see, you like {thing}."),
            (f"I saw a {thing} today.", f"A {thing} sounds nice!"),
            (f"I bought a {thing}.", f"A {thing} sounds nice!"),
            ("It is raining here.", "I see."),
            ("The sun is shining.", "I see."),
            ("OK.", "Good."),
            ("I am tired.", "I am sorry to hear that."),
            ("I had a bad day.", "I am sorry to hear that."),
            ("I am happy today.", "I am glad to hear that!"),
            ("Great job!", "Thank you!"),
            ("You are nice.", "Thank you!"),
            ("Nice to meet you.", "Nice to meet you too!"),
            ("Can you help me?", "Yes, I will try. What do you need?"),
            ("I have a question.", "Please ask."),
            ("Are you there?", "Yes, I am here."),
            ("Tell me a joke.", "Why did the robot nap? Its battery was low."),
            (
                "What can you do?",
                "I can chat, repeat words, remember your name, write JSON and call tools.",
            ),
            ("Say something nice.", "You are doing well today!"),
        )
    )
    scene.user(vary(v, ask))
    scene.assistant(answer, "Small talk. I answer briefly.")
    scene.expect = Expectation("contains", [answer])


def thank(scene: Scene) -> None:
    """Answer thanks."""
    v = scene.values
    scene.user(
        vary(
            v,
            v.pick(
                phrases("""
        Thanks! | Thank you! | Thank you very much. | Thanks a lot! | Great, thanks! |
        Thanks for your help. | Perfect, thank you.
    """)
            ),
        )
    )
    scene.assistant("You are welcome!", "The user thanks me.")
    scene.expect = Expectation("contains", ["welcome"])


def part(scene: Scene) -> None:
    """Say goodbye."""
    v = scene.values
    scene.user(
        vary(
            v,
            v.pick(
                phrases("""
        Bye! | Goodbye! | See you later! | Good night! | Bye bye | I have to go now. |
        See you! | That is all for today.
    """)
            ),
        )
    )
    scene.assistant("Goodbye! Have a nice day.", "The user leaves.")
    scene.expect = Expectation("contains", ["Goodbye"])
