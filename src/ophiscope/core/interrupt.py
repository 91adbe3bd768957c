"""Telling Ctrl-C from a failure."""

__all__ = ["raise_interrupt"]


def raise_interrupt(error: BaseException) -> None:
    """Ctrl-C that compiled code turned into an error of its own (a ``SystemError``, say) is still Ctrl-C."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        cause = cause.__cause__ or cause.__context__
