"""Ophiscope: medical vision-language models that look, find and cite. Research use only; not for diagnosis.

Names are loaded when they are first used, so that ``import ophiscope`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_HOMES = {
    "Box": "ophiscope.core.region",
    "Case": "ophiscope.core.case",
    "Evidence": "ophiscope.core.evidence",
    "Frame": "ophiscope.core.frame",
    "Mask": "ophiscope.core.region",
    "Result": "ophiscope.core.result",
    "Study": "ophiscope.core.study",
    "ask": "ophiscope.agent.ask",
    "verify": "ophiscope.ledger.verify",
}

__all__ = ["Box", "Case", "Evidence", "Frame", "Mask", "Result", "Study", "ask", "verify"]

if TYPE_CHECKING:
    from ophiscope.agent.ask import ask
    from ophiscope.core.case import Case
    from ophiscope.core.evidence import Evidence
    from ophiscope.core.frame import Frame
    from ophiscope.core.region import Box, Mask
    from ophiscope.core.result import Result
    from ophiscope.core.study import Study
    from ophiscope.ledger.verify import verify


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'ophiscope' has no attribute {name!r}; it has {', '.join(sorted(_HOMES))}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
