"""Finds phrases that plain technical English avoids: `python -m tests.contract.prose`.

Give folders or files to search only those. It reads docstrings, comments and string literals of several words.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.contract.vocabulary import PACKAGES, ROOT, list_files

PHRASES = {  # what is searched for -> what to write
    r"anew": "again",
    r"beside": "next to, with, in addition to",
    r"brings? forth|brought forth": "produce",
    r"goes on|go on|going on": "continue",
    r"hears?|heard": "receive",
    r"(?<!there )(is|are|was|were) no (?!longer|more|less|later|earlier|other)\w+": "is not a … (but: there is no …)",
    r"kin": "similar formats",
    r"learnt": "learned",
    r"lies near": "is close to",
    r"nobody|no one": "no caller, no process",
    r"of (its|their) own": "separate, own",
    r"pictures?": "image",
    r"tells?|told": "report, send, record",
    r"unless set|unless told": "default: …",
    r"usual": "default",
    r"whoever": "the caller, the process that",
    r"wish(es)?": "stop request",
    r"errands?|rehears\w+|pace|arena|tally|lanes?|pulse|leash": "the field's term (vocabulary)",
}
PATTERN = re.compile(r"(?<![\w/`\"'.-])(?:" + "|".join(PHRASES) + r")(?![\w/`\"'-])", re.IGNORECASE)
MAX_WORDS = 40
FUNCTION_WORDS = frozenset({"a", "and", "for", "in", "is", "of", "the", "to"})  # lists of names have none


class Finding(NamedTuple):
    """A sentence with a phrase to avoid."""

    path: str
    line: int
    phrase: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: `{self.phrase}` in: {self.sentence}"


def extract_prose(file: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and text of every docstring, comment block and string literal of at least three words."""
    source = file.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value.split()) > 2:
            yield node.lineno, node.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("# ")


def split_sentences(text: str) -> list[str]:
    """Return the sentences of a text, each on one line."""
    return [" ".join(part.split()) for part in re.split(r"(?<=[.:;!?])\s+|\n\s*\n", text) if part.strip()]


def find_phrases(file: Path) -> Iterator[Finding]:
    """Yield every sentence of a file that has a phrase to avoid, or more than 40 words."""
    path = str(file.relative_to(ROOT))
    for line, text in extract_prose(file):
        for sentence in split_sentences(text):
            for match in PATTERN.finditer(sentence):
                yield Finding(path, line, match[0], sentence)
            words = sentence.split()
            if len(words) > MAX_WORDS and not FUNCTION_WORDS.isdisjoint(words):
                yield Finding(path, line, f"{len(words)} words", sentence)


def main() -> None:
    """Print every finding below the targets and their number."""
    findings = [finding for file in list_files(sys.argv[1:] or PACKAGES) for finding in find_phrases(file)]
    sys.stdout.write("\n".join([*map(str, findings), f"{len(findings)} phrases to avoid"]) + "\n")


if __name__ == "__main__":
    main()
