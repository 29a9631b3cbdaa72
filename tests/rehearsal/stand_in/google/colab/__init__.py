"""A stand-in for what Colab's kernel brings: it does nothing, and prints what it was asked for."""

from google.colab import drive, files

__all__ = ["drive", "files"]
