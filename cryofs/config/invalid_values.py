"""Messages about invalid values of settings and options."""

import re
from typing import Any

import msgspec
import msgspec.inspect


def readable(error: msgspec.ValidationError, kind: type[msgspec.Struct], values: dict[str, Any]) -> str:
    """Return the text of a validation error in the form `name: invalid value; expected ...`.

    Parameters
    ----------
    kind : type
        The type to which the values were converted.
    """
    found = re.fullmatch(r"(.*) - at `\$\.(\w+)`", str(error), flags=re.DOTALL)
    if found is None:
        return str(error)
    reason, name = found.groups()
    if not reason.startswith(("Expected", "Invalid enum value")):
        return f"{name}: {reason}"
    field = next(field for field in msgspec.inspect.type_info(kind).fields if field.name == name)  # type: ignore[attr-defined]
    return f"{name}: invalid value {values[name]!r}; expected {_expected(field.type)}"


def _expected(kind: msgspec.inspect.Type) -> str:
    """Return a description of the valid values of a type, for messages."""
    match kind:
        case msgspec.inspect.UnionType():
            return next(_expected(one) for one in kind.types if not isinstance(one, msgspec.inspect.NoneType))
        case msgspec.inspect.LiteralType():
            *most, last = map(str, kind.values)
            return f"{', '.join(most)} or {last}"
        case msgspec.inspect.BoolType():
            return "true or false"
        case msgspec.inspect.IntType() | msgspec.inspect.FloatType():
            bounds = ((kind.gt, "above"), (kind.ge, "from"), (kind.le, "up to"))
            limits = [f"{word} {bound:g}" for bound, word in bounds if bound is not None]
            return " ".join(["a whole number" if isinstance(kind, msgspec.inspect.IntType) else "a number", *limits])
        case _:
            return "text"
