"""`/problems/{slug}`: the pages to which the `type` of a problem refers, from `docs/reference/problems.md`."""

import json
import re
from collections.abc import Iterator
from functools import cache
from html import escape
from pathlib import Path as FilePath
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Path
from fastapi.responses import HTMLResponse
from markdown_it import MarkdownIt

import app
from app.api.docs import HEADERS, render_head
from app.problems.exception_handlers import HTTP_PROBLEMS
from core.errors import NotFound, ServiceError

SOURCE = FilePath(app.__file__).parents[1] / "docs" / "reference" / "problems.md"
"""The text about all problems, which is part of every installation of the server."""
SECTION = re.compile(r"^## (?P<slug>[a-z-]+)\n\n(?P<status>\d{3})\. (?P<text>.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
REMEDIES = {
    "400": "Correct the request. A retry of the same request fails again.",
    "401": "Send the header `Authorization: Bearer` with an API key, or sign in to the dashboard.",
    "404": "Compare the path with the [API documentation](../docs), and the name with the list of its resource.",
    "409": "Wait until the state of the resource allows the request, or change the state.",
    "422": "Correct the parts of the request that `errors` lists. The [form for jobs](../#/new) checks them.",
    "429": "Repeat the request after the number of seconds in the header `Retry-After`.",
    "503": "Repeat the request after the number of seconds in the header `Retry-After`.",
}
"""What to do, keyed by status."""
PAGES = {
    "jobs": "Jobs",
    "compare": "Compare",
    "new": "New job",
    "sweeps": "Sweeps",
    "datasets": "Datasets",
    "models": "Models",
    "predict": "Try it",
    "system": "System",
}
"""The pages of the dashboard."""
SHELL = """<body>
<div class="shell"><header class="sidebar">
<a class="brand" href="{base}./"><img src="{base}ui/static/icon.svg" alt="" width="18" height="18"> Candela</a>
<nav aria-label="Main">{links}
<a href="{base}docs">API</a><a href="{base}problems" aria-current="page">Problems</a></nav>
</header>
<main class="markdown">
{content}</main></div>
</body>
</html>
"""
STYLES = """<link rel="stylesheet" href="{base}ui/static/candela.css">
<script src="{base}ui/static/theme.js"></script>
"""
router = APIRouter(prefix="/problems", include_in_schema=False)
Slug = Annotated[str, Path(max_length=64)]


class ProblemSection(NamedTuple):
    """What the reference says about a problem, as Markdown."""

    status: str
    text: str


@cache
def split_sections() -> dict[str, ProblemSection]:
    """Return the section of each problem by its slug."""
    found = SECTION.finditer(SOURCE.read_text(encoding="utf-8"))
    return {match["slug"]: ProblemSection(match["status"], match["text"]) for match in found}


@cache
def read_titles() -> dict[str, str]:
    """Return the title of each problem by its slug."""
    return dict(HTTP_PROBLEMS.values()) | {error.slug: error.title for error in _list_errors(ServiceError)}


def _list_errors(base: type[ServiceError]) -> Iterator[type[ServiceError]]:
    yield base
    for error in base.__subclasses__():
        yield from _list_errors(error)


@router.get("")
def list_problems() -> HTMLResponse:
    """Show all problems."""
    # A status at the start of a line would be a numbered list.
    template = r"## [\g<slug>](problems/\g<slug>)\n\n**Status \g<status>.** \g<text>"
    linked = SECTION.sub(template, SOURCE.read_text(encoding="utf-8"))
    return _render_page("Problems", linked, base="")


@router.get("/{slug}")
def show_problem(slug: Slug) -> HTMLResponse:
    """Show what a problem means."""
    section = split_sections().get(slug)
    if section is None:
        raise NotFound(f"There is no problem {slug!r}.")
    title = read_titles().get(slug, slug)
    example = json.dumps({"type": f"/problems/{slug}", "title": title, "status": int(section.status)}, indent=2)
    text = f"# {title}\n\n**Status {section.status}.** {section.text}\n"
    if section.status in REMEDIES:
        text += f"## How to fix it\n\n{REMEDIES[section.status]}\n\n"
    text += (
        f"## Response\n\nThe response also has `detail`, `instance`, `errors` and `facts`.\n\n```json\n{example}\n```\n"
    )
    return _render_page(title, f"{text}\n[All problems](../problems)\n", base="../")


def _render_page(title: str, text: str, *, base: str) -> HTMLResponse:
    content = MarkdownIt("commonmark", {"html": False}).render(text)
    content = content.replace(
        "<pre>", '<pre tabindex="0" role="region" aria-label="Example">'
    )  # it scrolls by keyboard
    head = render_head(f"{escape(title)} - Candela", styles=STYLES.format(base=base), base=base)
    links = "".join(f'<a href="{base}./#/{path}">{text}</a>' for path, text in PAGES.items())
    return HTMLResponse(head + SHELL.format(base=base, links=links, content=content), headers=HEADERS)
