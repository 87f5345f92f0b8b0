"""Groups and commands whose usage errors suggest what users of other tools look for."""

import re
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

from candela.synonyms import ROOT, suggest_paths

OPTION_SYNONYMS: dict[str, str] = {
    "--yes": "--force -f --assume-yes --no-input",
    "--watch": "--wait --follow -f",
    "--follow": "--watch --tail",
    "--wait": "--watch",
    "--state": "--status",
    "--limit": "-n --max --num --top --head",
    "--json": "-o --output --format -j",
    "--top-k": "-k --top --topk",
    "--tag": "--label",
    "--dry-run": "--validate --check -n",
}
"""Other tools' options, by the options that they mean."""
_REFERENCE = re.compile(r"^([a-z0-9][a-z0-9._-]*)@([0-9]+)$")
if TYPE_CHECKING:
    _Parser = TyperCommand
else:
    _Parser = object  # the mixin is also used with TyperGroup, which is not a subclass
UsageError: type[Exception] = next(cls for cls in typer.BadParameter.__mro__ if cls.__name__ == "UsageError")


class _SuggestingParser(_Parser):
    """A parser of arguments whose errors suggest what is meant. `NAME@3` stands for the arguments `NAME` and `3`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - a class of Typer's copy of click
        """Parse the arguments, as the base class does."""
        arguments = list(args)
        try:
            return super().parse_args(ctx, _split_reference(args) if self._has_version() else args)
        except UsageError as error:
            message = error.message.replace("is not a valid int range", "is not an integer")  # type: ignore[attr-defined]
            error.message = message  # type: ignore[attr-defined]
            similar = {*(getattr(error, "possibilities", None) or ())} - {"--help"}
            if not similar and (option := getattr(error, "option_name", "")):
                error.message = f"{message}{self._suggest_option(option, arguments)}"  # type: ignore[attr-defined]
                error.possibilities = None  # type: ignore[attr-defined]
            raise

    def _has_version(self) -> bool:
        names = [parameter.name for parameter in self.params if parameter.param_type_name == "argument"]
        return names[:2] in (["name", "version"], ["name", "base"])

    def _suggest_option(self, option: str, arguments: Sequence[str]) -> str:
        existing = {name for parameter in self.params for name in parameter.opts}
        found = [name for name, others in OPTION_SYNONYMS.items() if option in others.split() and name in existing]
        if found:
            return f". Did you mean {' or '.join(found)}?"
        if not option.startswith("--") or not any(parameter.name == "overrides" for parameter in self.params):
            return ""
        change = f"{option[2:].replace('-', '_')}={_find_value(option, arguments)}"
        return f". To change a field of the spec, write {change}"


class SuggestingCommand(_SuggestingParser, TyperCommand):
    """A command whose usage errors suggest what is meant."""


class SuggestingGroup(_SuggestingParser, TyperGroup):
    """A group of commands. The error of an unknown command names the one that other tools call so."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - classes of Typer's copy of click
        """Return the command of the arguments, as the base class does."""
        try:
            return super().resolve_command(ctx, args)
        except UsageError as error:
            if found := suggest_commands(args, ctx):
                commands = " or ".join(f"'candela {command}'" for command in found)
                error.message = f"No such command {args[0]!r}. Did you mean {commands}?"  # type: ignore[attr-defined]
            raise


def suggest_commands(args: Sequence[str], ctx: Any) -> list[str]:  # noqa: ANN401 - a class of Typer's copy of click
    """Return the commands, without `candela`, that the first argument may mean in the group of the context."""
    root = ctx.find_root()
    names = dict(_iterate_groups(root.command)) | {ROOT: [*root.command.commands, "--help", "--version"]}
    place = ctx.command_path.removeprefix(root.command_path).strip()
    next_word = next((arg for arg in args[1:2] if not arg.startswith("-")), "")
    return [f"{group} {name}".strip() for group, name in suggest_paths(args[0], place, names, next_word=next_word)]


def _iterate_groups(group: Any, path: str = ROOT) -> Iterator[tuple[str, Collection[str]]]:  # noqa: ANN401
    """Yield the path and the names of the commands of a group, and of the groups in it."""
    yield path, list(group.commands)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _iterate_groups(command, f"{path} {name}".strip())


def _split_reference(args: Sequence[str]) -> list[str]:
    """Return the arguments with the first one such as `digits@3` split in two."""
    for index, arg in enumerate(args):
        if reference := _REFERENCE.match(arg):
            return [*args[:index], *reference.groups(), *args[index + 1 :]]
    return list(args)


def _find_value(option: str, args: Sequence[str]) -> str:
    """Return the value that follows an option, or `VALUE`."""
    for arg, following in zip(args, (*args[1:], "-"), strict=True):
        if arg.startswith(f"{option}="):
            return arg.partition("=")[2]
        if arg == option and not following.startswith("-"):
            return following
    return "VALUE"
