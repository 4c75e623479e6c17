"""llmd: the daemon that serves quantized GGUF models over the OpenAI API."""

__version__ = "0.1.0"
