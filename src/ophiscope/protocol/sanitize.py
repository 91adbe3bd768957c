"""Untrusted text (questions, options, facts of a file, tool output) made unable to speak the protocol's own words."""

import re

__all__ = ["defuse_specials", "sanitize"]

_TAG = re.compile(r"<(?=/?(?:think|tool_call|tool_response|tools|answer)[ \t]{0,8}>)", re.IGNORECASE)


def defuse_specials(text: str) -> str:
    """``text`` with no spelling of a special token left (``<|im_end|>`` becomes ``< |im_end| >``).

    Spaces are put in, nothing is taken out: a removal could join two halves into a new token. Lone surrogates, which no
    UTF-8 file can hold, become ``?``.
    """
    if "<|" in text or "|>" in text:
        text = text.replace("<|", "< |").replace("|>", "| >")
    return text.encode("utf-8", "replace").decode("utf-8")


def sanitize(text: str) -> str:
    """``text`` with no special token and none of the grammar's tags (``<think>``, ``<tool_call>``, ``<answer>``, ...).

    Doing it twice changes nothing more.
    """
    return _TAG.sub("< ", defuse_specials(text))
