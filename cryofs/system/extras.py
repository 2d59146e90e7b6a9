"""Optional libraries: what an installation without an extra reports."""

from importlib.util import find_spec

from cryofs.errors import DependencyError


def require(extra: str, *modules: str) -> None:
    """Check that the libraries of an extra are installed.

    Parameters
    ----------
    extra : str
        Name of the extra in pyproject.toml.
    modules : str
        Modules that it installs, as they are imported.

    Raises
    ------
    DependencyError
        At least one is missing.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise DependencyError(f"missing {', '.join(missing)}; install them with: pip install 'cryofs[{extra}]'")
