"""Defines the commands that show the server: its catalog, workers, state and API key."""

from typing import Annotated, Any

import typer

from candela.cli.options import AsJson
from candela.cli.output import print_json, print_json_or
from candela.errors import CandelaError


def catalog(
    section: Annotated[
        str | None, typer.Argument(metavar="[SECTION]", help="A part, for example optimizers (default: all).")
    ] = None,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="An entry, for example adam, to show its options.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List what job specs can contain: architectures, optimizers, callbacks and so on, with their options."""
    from candela.client import Client
    from candela.rendering import catalog_view

    with Client() as client:
        listed = client.catalog()
    if section is not None:
        listed = {section: _choose(listed, section, "section of the catalog")}
    if section is not None and name is not None:
        entries = {entry["name"]: entry for entry in listed[section]}
        entry = _choose(entries, name, f"entry of {section}")
        if as_json:
            print_json(entry)
        else:
            catalog_view.print_entry(entry)
    elif as_json:
        print_json(listed)
    else:
        catalog_view.print_catalog(listed)


def _choose(choices: dict[str, object], name: str, what: str) -> Any:  # noqa: ANN401 - JSON
    if name not in choices:
        raise CandelaError(f"{name!r} is not a {what}; it must be one of: {', '.join(sorted(choices))}")
    return choices[name]


def workers(as_json: AsJson = False) -> None:
    """List the workers with their last heartbeats, devices and jobs."""
    from candela.client import Client
    from candela.rendering import responses

    with Client() as client:
        listed_workers = client.system()["workers"]
        print_json_or(listed_workers, as_json, lambda: responses.print_workers(listed_workers))


def system(as_json: AsJson = False) -> None:
    """Show the state of the server: versions, devices, queue and workers."""
    from candela.client import Client
    from candela.rendering import responses

    with Client() as client:
        state = client.system()
        print_json_or(state, as_json, lambda: responses.print_system(state))


def whoami(as_json: AsJson = False) -> None:
    """Show the server, and how it authenticates this command: whether CANDELA_API_KEY is accepted."""
    from candela.client import Client

    with Client() as client:
        session = client.session()
        if as_json:
            print_json({"url": client.base_url, **session})
        elif session["authentication"] == "none":
            print(f"{client.base_url} requires no API key")
        else:
            print(f"{client.base_url} accepts the API key {session['key_id']} (start of its SHA-256)")
