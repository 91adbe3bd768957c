"""Decoders that talk: what they say quotes the file, so nothing of it may reach a terminal or a log."""

import logging
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["muted_libtiff", "muted_pydicom"]

_lock = threading.RLock()
_STDERR = 2


@contextmanager
def muted_pydicom() -> Iterator[None]:
    """Keep pydicom silent: its warnings and log lines repeat the values that they complain about."""
    logger = logging.getLogger("pydicom")
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        handlers, propagate = logger.handlers, logger.propagate
        logger.handlers, logger.propagate = [logging.NullHandler()], False
        try:
            yield
        finally:
            logger.handlers, logger.propagate = handlers, propagate


@contextmanager
def muted_libtiff() -> Iterator[None]:
    """Keep libtiff silent: it writes to the process's standard error itself, past Python.

    For the few milliseconds of a decode the descriptor points to nothing; where it is closed already, nothing is done.
    """
    with _lock:
        try:
            kept = os.dup(_STDERR)
        except OSError:
            yield
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, _STDERR)
            yield
        finally:
            os.dup2(kept, _STDERR)
            os.close(kept)
            os.close(nowhere)
