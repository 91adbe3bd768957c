"""Names to objects: one small table, which other packages extend through entry points.

Used only where a person's words become objects; inside the library objects are passed, not names.
"""

import difflib
from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import entry_points
from typing import Generic, TypeVar, cast

from ophiscope.errors import WrongInput

__all__ = ["Registry"]

_T = TypeVar("_T")


class Registry(Generic[_T]):
    """A table of named things of one kind.

    Args:
        kind: What they are, for messages: ``tool``.
        entries: The built-in ones, in the order in which they are listed.
        group: Entry point group whose members are added; a built-in name cannot be taken over.
    """

    def __init__(self, kind: str, entries: Mapping[str, _T], group: str | None = None) -> None:
        self._kind = kind
        self._entries = dict(entries)
        self._group = group

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Built-in names in their order, then those of entry points in alphabetical order.

        Looked up once: reading what is installed takes ten milliseconds, and every episode asks.
        """
        added = {point.name for point in entry_points(group=self._group)} if self._group else set()
        return (*self._entries, *sorted(added - set(self._entries)))

    def get(self, name: str) -> _T:
        """The thing called ``name``.

        Raises:
            WrongInput: If there is none, or its entry point cannot be loaded.
        """
        if name in self._entries:
            return self._entries[name]
        points = tuple(entry_points(group=self._group, name=name)) if self._group else ()
        if not points:
            alike = difflib.get_close_matches(name, self.names, n=1)
            hint = f" did you mean {alike[0]!r}?" if alike else ""
            raise WrongInput(f"Unknown {self._kind} {name!r};{hint} accepted: {', '.join(self.names)}.")
        try:
            return cast(_T, points[0].load())
        except (ImportError, AttributeError) as error:
            raise WrongInput(f"The {self._kind} {name!r} ({points[0].value}) cannot be loaded: {error}.") from error
