"""Tools for agents to call, and a form for them to fill in."""

from __future__ import annotations

from pydantic import BaseModel

REPORTS = {
    "Tampico": "17 degrees and rainy",
    "Delft": "31 degrees and windy",
    "Kirkwall": "9 degrees and foggy",
    "Wolverton": "24 degrees and sunny",
}
PRODUCTS = {"12*3": "36"}
WEATHER_QUESTION = "What is the weather in Tampico?"
SECOND_QUESTION = "What is the weather in Delft?"
BOTH_QUESTION = "What is the weather in Tampico and in Delft?"
PRODUCT_QUESTION = "Calculate 12 * 3"
REPEAT_QUESTION = 'Reply with {"name": "Quillon", "age": 34}'
PERSON_QUESTION = "Write a JSON object with the keys name and age for Quillon, who is 34."


class Person(BaseModel):
    name: str
    age: int


QUILLON = Person(name="Quillon", age=34)


class Tools:
    """Keeps account of its calls; its answers cannot be guessed."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def get_weather(self, city: str) -> str:
        """Get the current weather for a city."""
        self.calls.append(("get_weather", city))
        return REPORTS.get(city, "Error: city not found")

    def calculator(self, expression: str) -> str:
        """Evaluate an arithmetic expression."""
        self.calls.append(("calculator", expression))
        return PRODUCTS.get(expression.replace(" ", ""), "Error: invalid expression")
