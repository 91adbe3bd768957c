"""Open words to a closed vocabulary: by rule, or refused."""

import pytest

from ophiscope.errors import ToolCode, ToolError
from ophiscope.tools.segmenters.vocabulary import SYNONYMS, compute_normal_form, is_named, resolve_target

TARGETS = (
    "polyp",
    "breast tumor",
    "benign breast tumor",
    "malignant breast tumor",
    "nuclei",
    "cell membrane",
    "retinal vessels",
    "skin lesion",
    "lung",
    "kidney",
    "kidney left",
    "vertebrae",
    "ribs",
    "inferior vena cava",
    "urinary bladder",
    "gallbladder",
    "pancreas",
    "small bowel",
)


@pytest.mark.parametrize(
    ("asked", "target"),
    [
        ("polyp", "polyp"),
        ("Polyps", "polyp"),
        ("the polyp.", "polyp"),
        ("Is there a polyp?", "polyp"),
        ("colorectal polyp", "polyp"),
        ("tumour of the breast", "breast tumor"),
        ("breast mass", "breast tumor"),
        ("a lesion in the breast", "breast tumor"),
        ("malignant tumour of the breast", "malignant breast tumor"),
        ("nucleus", "nuclei"),
        ("cell_nuclei", "nuclei"),
        ("left kidney", "kidney left"),
        ("Kidneys", "kidney"),
        ("kidney (left)", "kidney left"),
        ("vertebra", "vertebrae"),
        ("rib", "ribs"),
        ("IVC", "inferior vena cava"),
        ("bladder", "urinary bladder"),
        ("gall bladder", "gallbladder"),
        ("small intestine", "small bowel"),
        ("ｐｏｌｙｐ", "polyp"),
        ("any visible areas of the lungs", "lung"),
    ],
)
def test_understood(asked: str, target: str) -> None:
    assert resolve_target(asked, TARGETS) == target


@pytest.mark.parametrize(
    "asked",
    [
        "tumour",
        "mass",
        "lesion",
        "nodule",
        "adenoma",
        "no polyp",
        "vessel",
        "bowel",
        "cell",
        "",
        "?",
        "polyp lung",
        "pancrea",
        "gallblader",
        "polypp",
        "retinal vesel",
        "skin leson",
        "left lung",
        "x" * 5000,
    ],
)
def test_refused_with_the_three_nearest(asked: str) -> None:
    with pytest.raises(ToolError) as caught:
        resolve_target(asked, TARGETS)
    assert caught.value.code is ToolCode.UNKNOWN_TARGET
    named = str(caught.value).split("Nearest: ")[1].rstrip(".").split(", ")
    assert len(named) == 3
    assert set(named) <= set(TARGETS)
    assert len(str(caught.value)) < 250


def test_the_nearest_share_words() -> None:
    for asked in ("carcinoma", "cancer", "nodule", "lump"):
        with pytest.raises(ToolError, match=r"Nearest: .*breast tumor"):
            resolve_target(asked, TARGETS)
    with pytest.raises(ToolError, match=r"Nearest: breast tumor"):
        resolve_target("breast swelling", TARGETS)


def test_synonyms_never_contradict_a_target_and_are_never_ambiguous() -> None:
    nano_seg = pytest.importorskip("ophiscope.tools.segmenters.nano_seg_net")
    forms = {compute_normal_form(target): target for target in nano_seg.TARGETS}
    assert len(forms) == len(nano_seg.TARGETS)
    seen: dict[str, str] = {}
    for words, target in SYNONYMS.items():
        assert target in nano_seg.TARGETS, words
        form = compute_normal_form(words)
        assert forms.get(form, target) == target
        assert seen.setdefault(form, target) == target
    for target in nano_seg.TARGETS:
        assert resolve_target(target, nano_seg.TARGETS) == target


def test_only_targets_that_a_segmenter_has_are_reached() -> None:
    with pytest.raises(ToolError):
        resolve_target("colorectal polyp", ("liver", "spleen", "kidney"))


@pytest.mark.parametrize(
    ("target", "text", "named"),
    [
        ("polyp", "Do you see POLYPS here?", True),
        ("breast tumor", "Is the tumour benign or malignant?", True),
        ("urinary bladder", "Outline the bladder.", True),
        ("inferior vena cava", "Mark the IVC", True),
        ("polyp", "Is there a liver?", False),
        ("left kidney", "Is there an ulcer?", False),
        ("kidney left", "What is seen in the left lung?", False),
        ("kidney left", "Is there a cyst in the right kidney?", False),
        ("kidney left", "Outline the kidneys.", True),
        ("breast tumor", "Is there a tumor in the skin?", False),
        ("skin lesion", "What pattern does the lesion in the left lung show?", False),
        ("skin lesion", "Is the lesion malignant?", True),
    ],
)
def test_whether_a_question_names_a_target(target: str, text: str, named: bool) -> None:
    assert is_named(target, text) is named
