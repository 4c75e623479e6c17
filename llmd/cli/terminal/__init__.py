"""The chat in a terminal: what is typed, what is shown, and the conversation between them."""
