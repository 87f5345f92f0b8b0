"""Parses server-sent events."""


def parse_messages(text: str) -> list[dict[str, str]]:
    """Return the fields of each message."""
    blocks = [block for block in text.replace("\r\n", "\n").split("\n\n") if block.strip()]
    return [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]
