"""Parameters of commands, declared by annotations of a function, and the click command that they make.

A parameter is `Annotated[type, Option(...)]` or `Annotated[type, Argument(...)]`; one without a default is required.
Importing click takes a hundredth of a second, which every command waits for.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import click

BadParameter = click.BadParameter
Context = click.Context
Exit = click.exceptions.Exit

_TYPES: dict[Any, "click.ParamType[Any]"] = {
    Path: click.Path(path_type=Path, readable=False),
    int: click.INT,
    float: click.FLOAT,
}


class Option:
    """An option.

    Parameters
    ----------
    *names : str
        Names of the option; by default that of the parameter.
    metavar : str or None
        Placeholder of the value in help.
    min, max : int or None
        Smallest and largest value.
    parser : callable or None
        Returns the value of a text; raises `BadParameter`.
    show_default : str or None
        Description of the default in help.
    """

    def __init__(
        self,
        *names: str,
        help: str,  # noqa: A002 - the word of click
        metavar: str | None = None,
        min: int | None = None,  # noqa: A002
        max: int | None = None,  # noqa: A002
        parser: Callable[[str], Any] | None = None,
        show_default: str | None = None,
    ):
        self.names = names
        self.help = help
        self.metavar = metavar
        self.range = min, max
        self.parser = parser
        self.show_default = show_default


@dataclass(frozen=True)
class Argument:
    """An argument; a list takes one or more."""

    metavar: str
    help: str


class Command(click.Command):
    """A command whose help describes its arguments too."""

    def format_options(self, ctx: Context, formatter: click.HelpFormatter) -> None:
        """Write the sections of arguments and options."""
        for title, kind in (("Arguments", "argument"), ("Options", "option")):
            params = [param for param in self.get_params(ctx) if param.param_type_name == kind]
            if rows := [record for param in params if (record := param.get_help_record(ctx))]:
                with formatter.section(title):
                    formatter.write_dl(rows)


def make_command(name: str, function: Callable[..., None]) -> Command:
    """Return the command of a function, whose docstring is the help."""
    hints = get_type_hints(function, include_extras=True)
    params: list[click.Parameter] = []
    lists: list[str] = []
    contexts: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        hint = hints[parameter.name]
        if hint is Context:
            contexts.append(parameter.name)
            continue
        kind, declared = get_args(hint)[:2]
        params.append(_param(parameter, kind, declared))
        if get_origin(kind) is list:
            lists.append(parameter.name)

    def call(**values: Any) -> None:
        context = dict.fromkeys(contexts, click.get_current_context())
        function(**values | {name: list(values[name]) for name in lists} | context)

    return Command(name, callback=call, params=params, help=inspect.getdoc(function))


def _param(parameter: inspect.Parameter, kind: Any, declared: Option | Argument) -> click.Parameter:
    required = parameter.default is inspect.Parameter.empty
    if isinstance(declared, Argument):
        return _Argument(parameter.name, kind, declared, required)
    given: dict[str, Any] = {"help": declared.help}
    # for click, even None is a default
    given |= {"required": True} if required else {"default": parameter.default}
    if _plain(kind) is bool:
        return click.Option([parameter.name, *declared.names], is_flag=True, **given)
    names = declared.names or ("--" + parameter.name.replace("_", "-"),)
    has_default = not required and parameter.default not in (None, "")
    return click.Option(
        [parameter.name, *names],
        type=_type(kind, declared),
        metavar=declared.metavar,
        show_default=declared.show_default or has_default,
        **given,
    )


class _Argument(click.Argument):
    def __init__(self, name: str, kind: Any, declared: Argument, required: bool):
        several = get_origin(kind) is list
        shown = declared.metavar + ("..." if several else "")
        super().__init__(
            [name],
            type=_TYPES[Path],
            nargs=-1 if several else 1,
            required=required,
            metavar=shown if required else f"[{shown}]",
        )
        self._row = declared.metavar, declared.help

    def get_help_record(self, ctx: Context) -> tuple[str, str]:
        """Return the row of help."""
        return self._row


def _plain(kind: Any) -> Any:
    """Return a type without None."""
    kinds = [one for one in get_args(kind) if one is not NoneType]
    return kinds[0] if NoneType in get_args(kind) and len(kinds) == 1 else kind


def _type(kind: Any, option: Option) -> "click.ParamType[Any]":
    plain = _plain(kind)
    if option.parser is not None:
        return _Parsed(option.parser)
    if get_origin(plain) is Literal:
        return _Choice(get_args(plain))
    if option.range != (None, None):
        return click.IntRange(*option.range)
    return _TYPES.get(plain, click.STRING)


class _Parsed(click.ParamType):  # type: ignore[type-arg]
    name = "text"

    def __init__(self, parser: Callable[[str], Any]):
        self._parser = parser

    def convert(self, value: Any, param: click.Parameter | None, ctx: Context | None) -> Any:
        try:
            return self._parser(value)
        except BadParameter as error:
            self.fail(error.message, param, ctx)


class _Choice(click.ParamType):  # type: ignore[type-arg]
    """One of a few texts or numbers."""

    name = "choice"

    def __init__(self, choices: tuple[Any, ...]):
        self._choices = {str(choice): choice for choice in choices}

    def get_metavar(self, param: click.Parameter, ctx: Context | None = None) -> str:
        return "|".join(self._choices)

    def convert(self, value: Any, param: click.Parameter | None, ctx: Context | None) -> Any:
        if str(value) not in self._choices:
            self.fail(f"{value!r} is not one of {', '.join(map(repr, self._choices))}", param, ctx)
        return self._choices[str(value)]

    def shell_complete(self, ctx: Context, param: click.Parameter, incomplete: str) -> Any:
        from click.shell_completion import CompletionItem

        return [CompletionItem(choice) for choice in self._choices if choice.startswith(incomplete)]
