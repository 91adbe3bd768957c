"""What is asked. The truth is elsewhere: :mod:`ophiscope.core.answer_key`."""

from dataclasses import dataclass

from ophiscope.core.study import Study

__all__ = ["Case"]


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One question about one or more studies."""

    studies: tuple[Study, ...]
    question: str
    options: tuple[str, ...] = ()
    """Empty for an open question; otherwise at least two different texts."""

    def __post_init__(self) -> None:
        if not self.studies:
            raise ValueError("A case needs at least one study.")
        if not self.question.strip():
            raise ValueError("The question is empty.")
        if len(self.options) == 1:
            raise ValueError("One option is no choice; give two or more, or none.")
        if len({option.strip().casefold() for option in self.options}) != len(self.options):
            raise ValueError(f"Options {list(self.options)} must differ from one another.")
        if not all(option.strip() for option in self.options):
            raise ValueError(f"Options {list(self.options)} must not be empty.")
        names = [study.header.study for study in self.studies]
        if len(set(names)) != len(names):
            raise ValueError(f"Study handles {names} must differ from one another.")
