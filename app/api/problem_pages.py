"""`/problems/{slug}`: the pages to which the `type` of a problem refers, from `docs/reference/problems.md`."""

import re
from functools import cache
from html import escape
from pathlib import Path as FilePath
from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import HTMLResponse
from markdown_it import MarkdownIt

import app
from app.api.docs import HEADERS, render_head
from core.errors import NotFound

SOURCE = FilePath(app.__file__).parents[1] / "docs" / "reference" / "problems.md"
"""The text about all problems, which is part of every installation of the server."""
SECTION = re.compile(r"^## (?P<slug>[a-z-]+)\n(?P<text>.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
STATUS = re.compile(r"^(\d{3})\.", re.MULTILINE)
router = APIRouter(prefix="/problems", include_in_schema=False)
Slug = Annotated[str, Path(max_length=64)]


@cache
def read_text() -> str:
    """Return the text about all problems, as Markdown. A status at the start of a line would be a numbered list."""
    return STATUS.sub(r"**Status \1.**", SOURCE.read_text(encoding="utf-8"))


@cache
def split_sections() -> dict[str, str]:
    """Return the section of each problem by its slug."""
    return {match["slug"]: match["text"] for match in SECTION.finditer(read_text())}


@router.get("")
def list_problems() -> HTMLResponse:
    """Show all problems."""
    linked = SECTION.sub(r"## [\g<slug>](problems/\g<slug>)\n\g<text>", read_text())
    return _render_page("Problems", linked, base="")


@router.get("/{slug}")
def show_problem(slug: Slug) -> HTMLResponse:
    """Show what a problem means."""
    section = split_sections().get(slug)
    if section is None:
        raise NotFound(f"There is no problem {slug!r}.")
    return _render_page(slug, f"# {slug}\n{section}\n[All problems](../problems), [API](../docs)\n", base="../")


def _render_page(title: str, text: str, *, base: str) -> HTMLResponse:
    content = MarkdownIt("commonmark", {"html": False}).render(text)
    head = render_head(f"{escape(title)} - Candela", base=base)
    return HTMLResponse(f'{head}<body>\n<main class="page">\n{content}</main>\n</body>\n</html>\n', headers=HEADERS)
