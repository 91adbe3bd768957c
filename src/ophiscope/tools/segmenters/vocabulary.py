"""Open words to a closed vocabulary, by rule: normal form, then a table of synonyms. Never by guess.

Normal form: case folded; punctuation to spaces; articles, the words of asking and doubting (``any``, ``visible``,
``suspected``, ...) and ``of``, ``in``, ``on`` left out; plural to singular word by word; words in alphabetical order,
so that ``left kidney``, ``kidney (left)`` and ``kidneys, left`` are one. A word stands for a target only where it can
mean nothing else: ``mass`` alone, or ``tumour``, is refused, as it may lie in any organ.
"""

import difflib
import re
import unicodedata
from collections.abc import Sequence

from ophiscope.errors import ToolCode, ToolError
from ophiscope.tools.arguments import render_value

__all__ = ["SYNONYMS", "compute_normal_form", "is_named", "resolve_target"]

SYNONYMS: dict[str, str] = {
    "colon polyp": "polyp",
    "colonic polyp": "polyp",
    "colorectal polyp": "polyp",
    "intestinal polyp": "polyp",
    "polypoid lesion": "polyp",
    "breast mass": "breast tumor",
    "breast lesion": "breast tumor",
    "breast lump": "breast tumor",
    "breast nodule": "breast tumor",
    "breast neoplasm": "breast tumor",
    "benign breast mass": "benign breast tumor",
    "benign breast lesion": "benign breast tumor",
    "malignant breast mass": "malignant breast tumor",
    "malignant breast lesion": "malignant breast tumor",
    "breast cancer": "malignant breast tumor",
    "breast carcinoma": "malignant breast tumor",
    "nucleus": "nuclei",
    "cell nucleus": "nuclei",
    "cell nuclei": "nuclei",
    "neuronal membrane": "cell membrane",
    "retinal blood vessels": "retinal vessels",
    "retina vessels": "retinal vessels",
    "retinal vasculature": "retinal vessels",
    "fundus vessels": "retinal vessels",
    "melanocytic lesion": "skin lesion",
    "lung field": "lung",
    "gall bladder": "gallbladder",
    "large bowel": "colon",
    "large intestine": "colon",
    "small intestine": "small bowel",
    "bladder": "urinary bladder",
    "ivc": "inferior vena cava",
    "vertebra": "vertebrae",
    "intervertebral disk": "intervertebral discs",
    "left femoral bone": "femur left",
    "right femoral bone": "femur right",
    "left hip bone": "hip left",
    "right hip bone": "hip right",
    "prostate gland": "prostate",
}
"""Words that mean one target and nothing else, to the target; read in normal form."""

_LEFT_OUT = frozenset(
    (
        *("a", "an", "the", "of", "in", "on", "there", "is", "are"),
        *("any", "some", "all", "this", "that", "these", "those", "his", "her", "their", "its"),
        *("region", "area", "visible", "possible", "suspected", "single"),
    )
)
"""Words that name nothing."""
_SIDES = frozenset(("left", "right"))
_SHARED = frozenset(("lesion", "tumor", "mass", "cell", "vein", "lower", "upper", "lobe", "benign", "malignant"))
"""Words of many targets."""
_PARTS = frozenset(
    (
        *("skin", "breast", "lung", "kidney", "liver", "spleen", "heart", "brain", "bone", "bladder", "prostate"),
        *("colon", "bowel", "stomach", "pancreas", "retina", "retinal", "spine", "thyroid", "uterus", "ovary"),
    )
)
"""Parts of the body, any of which may have a lesion or a tumor."""
_WORDS = {
    "tumour": "tumor",
    "tumours": "tumor",
    "disks": "disc",
    "disk": "disc",
    "vena": "vein",
    "nuclei": "nucleus",
    "vertebrae": "vertebra",
    "pancreas": "pancreas",
    "iliopsoas": "iliopsoas",
}
"""Words whose singular no rule finds, or which only look like a plural."""


def _singular(word: str) -> str:
    if word in _LEFT_OUT:
        return word
    if word in _WORDS:
        return _WORDS[word]
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ss", "us", "is")) or not word.endswith("s") or len(word) < 4:
        return word
    return word[:-2] if word.endswith(("sses", "xes", "ches")) else word[:-1]


def compute_normal_form(words: str) -> str:
    """The form in which two names are compared."""
    plain = unicodedata.normalize("NFKC", words).casefold()
    parts = (_singular(part) for part in re.sub(r"[\W_]+", " ", plain).split())
    return " ".join(sorted(part for part in parts if part not in _LEFT_OUT))


def resolve_target(asked: str, targets: Sequence[str]) -> str:
    """The target of a closed vocabulary that ``asked`` names.

    Raises:
        ToolError: ``UNKNOWN_TARGET``, naming the three nearest targets.
    """
    by_form = {compute_normal_form(target): target for target in targets}
    for words, target in SYNONYMS.items():
        if target in targets:
            by_form.setdefault(compute_normal_form(words), target)
    form = compute_normal_form(asked)
    if form in by_form:
        return by_form[form]
    raise ToolError(
        ToolCode.UNKNOWN_TARGET,
        f"{render_value(asked)} is not a target of this segmenter. Nearest: {', '.join(_nearest(form, targets))}.",
    )


def is_named(target: str, text: str) -> bool:
    """True where ``text`` holds a telling word of ``target``, or of what stands for it, and not the other side alone.

    A word that many targets share (lesion, tumor) tells only where the text names no other part of the body.
    """
    said = set(compute_normal_form(text).split())
    sides = said & _SIDES
    return any(_is_told(set(compute_normal_form(way).split()), said, sides) for way in _list_ways(target))


def _is_told(words: set[str], said: set[str], sides: set[str]) -> bool:
    if sides and words & _SIDES and not sides & words:
        return False
    common = (words & said) - _SIDES
    return bool(common - _SHARED) or (bool(common) and not (said & _PARTS) - words)


def _list_ways(target: str) -> tuple[str, ...]:
    """The target's own name, and what stands for it."""
    return target, *(words for words, meant in SYNONYMS.items() if meant == target)


def _nearest(form: str, targets: Sequence[str]) -> list[str]:
    """The three most alike targets, by letters and by shared words of their names and of what stands for them."""
    words = set(form.split())

    def compare(way: str) -> float:
        other = compute_normal_form(way)
        shared = len(words & set(other.split())) / max(1, len(words | set(other.split())))
        return shared + difflib.SequenceMatcher(None, form[:80], other).ratio()

    return sorted(targets, key=lambda target: -max(map(compare, _list_ways(target))))[:3]
