"""What the command lines take as the types of their options."""

from __future__ import annotations

import argparse


def positive_int(text: str) -> int:
    """Return a whole number of at least 1.

    Raises
    ------
    argparse.ArgumentTypeError
        It is none; `argparse` shows the message beside the option.

    Examples
    --------
    >>> positive_int("20")
    20
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)
