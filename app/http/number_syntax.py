"""The syntax of numbers in headers, paths and query parameters: decimal digits.

`int()`, `float()` and pydantic also accept underscores, surrounding spaces, a plus sign, digits of other scripts and
words such as `infinity`. Another program that reads the same request, such as a proxy, may read another number.
"""

import re

INTEGER = re.compile(r"-?[0-9]+")
NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def parse_number(text: str) -> float:
    """Return a decimal number, or infinity if it is too large.

    Raises:
        ValueError: the text is not a decimal number.
    """
    if not NUMBER.fullmatch(text):
        raise ValueError("not a decimal number")
    return float(text)
