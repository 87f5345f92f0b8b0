"""Renders the catalog: what job specs can contain, and the options of each entry."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape

from candela.rendering import terminal
from candela.rendering.terminal import create_table, print_table


def print_catalog(sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Print the names of each section; for a single section, also what each entry is."""
    if len(sections) > 1:
        table = create_table("SECTION", "ENTRIES")
        for section, entries in sections.items():
            table.add_row(section, ", ".join(escape(entry["name"]) for entry in entries))
    else:
        table = create_table("NAME", "SUMMARY")
        for entry in next(iter(sections.values())):
            table.add_row(escape(entry["name"]), escape(entry["summary"]))
    print_table(table, "no entries")


def print_entry(entry: Mapping[str, Any]) -> None:
    """Print the options of one entry with their types, defaults and descriptions."""
    terminal.console.print(f"[bold]{escape(entry['name'])}[/bold]  {escape(entry['summary'])}")
    required = entry["options"].get("required") or ()
    table = create_table("OPTION", "TYPE", "DEFAULT", "DESCRIPTION")
    for name, option in entry["options"].get("properties", {}).items():
        if name != "name":
            default = "required" if name in required else json.dumps(option.get("default"))
            table.add_row(name, escape(_format_type(option)), escape(default), escape(option.get("description", "")))
    print_table(table, "no options")


def _format_type(schema: Mapping[str, Any]) -> str:
    """Return the JSON type of an option, for example `number` or `string or null`."""
    if choices := schema.get("enum"):
        return ", ".join(map(str, choices))
    kinds = [_format_type(each) for key in ("anyOf", "oneOf") for each in schema.get(key, ())]
    if not kinds:
        kinds = [str(schema["type"]) if isinstance(schema.get("type"), str) else "object"]
    return " or ".join(dict.fromkeys(kinds))
