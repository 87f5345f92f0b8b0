"""Groups and commands whose usage errors suggest what users of other tools look for."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from candela.synonyms import ROOT, suggest_paths

UsageError: type[Exception] = next(cls for cls in typer.BadParameter.__mro__ if cls.__name__ == "UsageError")


class SuggestingGroup(TyperGroup):
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


class OverridesCommand(TyperCommand):
    """A command with arguments FIELD=VALUE. The error of an unknown option such as `--epochs 3` names this form."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - a class of Typer's copy of click
        """Parse the arguments, as the base class does."""
        arguments = list(args)
        try:
            return super().parse_args(ctx, args)
        except UsageError as error:
            option = getattr(error, "option_name", "")
            if option.startswith("--") and not getattr(error, "possibilities", None):
                change = f"{option[2:].replace('-', '_')}={_find_value(option, arguments)}"
                error.message = f"No such option: {option}. To change a field of the spec, write {change}"  # type: ignore[attr-defined]
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


def _find_value(option: str, args: Sequence[str]) -> str:
    """Return the value that follows an option, or `VALUE`."""
    for arg, following in zip(args, (*args[1:], "-"), strict=True):
        if arg.startswith(f"{option}="):
            return arg.partition("=")[2]
        if arg == option and not following.startswith("-"):
            return following
    return "VALUE"
