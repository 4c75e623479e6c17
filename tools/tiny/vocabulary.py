"""Learn the vocabulary from a sample of the corpus and write it as JSON."""

from __future__ import annotations

import argparse
from pathlib import Path

import corpus
import tokenizer
import words

SIZE = 2048
SPACED = 160
SAMPLE = 12_000
SEED = 1


def value_words() -> set[str]:
    """Return the listed words that serve as values, in lower case."""
    lists = (
        words.FIRST_NAMES,
        words.LAST_NAMES,
        words.CITIES,
        words.THINGS,
        words.ADJECTIVES,
        words.JOBS,
        words.LANGUAGES,
        words.KEYS,
        words.TOPICS,
        words.ENTITIES,
        words.CONDITIONS,
    )
    return {word.lower() for group in lists for word in group}


def main() -> None:
    """Write the vocabulary to the path given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    made = tokenizer.train(corpus.sample_texts(SAMPLE, SEED), value_words(), SIZE, SPACED)
    made.save(args.out)
    print(f"{len(made.tokens)} tokens")


if __name__ == "__main__":
    main()
