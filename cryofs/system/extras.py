"""Check for the libraries of optional extras."""

from importlib.util import find_spec

from cryofs.errors import DependencyError


def require(extra: str, *modules: str) -> None:
    """Check that the optional libraries of an extra are installed.

    Parameters
    ----------
    extra : str
        Name of the extra in pyproject.toml.
    modules : str
        Import names of the modules that the extra installs.

    Raises
    ------
    DependencyError
        At least one module is missing.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise DependencyError(f"missing {', '.join(missing)}; install them with: pip install 'cryofs[{extra}]'")
