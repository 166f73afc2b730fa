"""A small application that carries the pages alone, for their tests."""
