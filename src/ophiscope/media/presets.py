"""Named windows: the levels that radiologists switch between, and two that fit any scalar picture.

CT values are those in common use in radiology departments (HU); they are conventions, not limits of a tissue.
"""

from ophiscope.core.study import StudyHeader
from ophiscope.core.window import Window

__all__ = ["CT_PRESETS", "list_presets", "resolve_preset"]

CT_PRESETS: dict[str, Window] = {
    "lung": Window(-600.0, 1500.0),
    "mediastinum": Window(50.0, 350.0),
    "soft tissue": Window(40.0, 400.0),
    "liver": Window(60.0, 160.0),
    "brain": Window(40.0, 80.0),
    "subdural": Window(75.0, 215.0),
    "stroke": Window(40.0, 40.0),
    "angiography": Window(300.0, 600.0),
    "bone": Window(400.0, 1800.0),
}
"""Center and width in HU, by normal name."""

_OTHER_NAMES = {
    "abdomen": "soft tissue",
    "abdominal": "soft tissue",
    "soft": "soft tissue",
    "softtissue": "soft tissue",
    "lungs": "lung",
    "pulmonary": "lung",
    "mediastinal": "mediastinum",
    "hepatic": "liver",
    "cerebral": "brain",
    "head": "brain",
    "bones": "bone",
    "skeletal": "bone",
    "angio": "angiography",
    "cta": "angiography",
    "whole": "full",
}


def list_presets(header: StudyHeader) -> tuple[str, ...]:
    """The names that :func:`resolve_preset` takes for a study; none for colour."""
    if header.channels != 1:
        return ()
    return ("default", "full", *(CT_PRESETS if header.modality == "CT" else ()))


def resolve_preset(name: str, header: StudyHeader) -> Window:
    """The window that ``name`` stands for in a study.

    Case, hyphens, underscores and the words "window" and "preset" make no difference.

    Raises:
        ValueError: If the study has no windows or none of that name; the text lists those that it has.
    """
    accepted = list_presets(header)
    if not accepted:
        raise ValueError(
            f"Study {header.study} is in colour and has no window; presets are for scalar studies (CT, MR, DX)."
        )
    words = name.casefold().replace("_", " ").replace("-", " ").split()
    normal = " ".join(word for word in words if word not in ("window", "preset"))
    normal = _OTHER_NAMES.get(normal, normal)
    if normal not in accepted:
        raise ValueError(
            f"Preset {name!r} is not known for {header.modality or 'this study'}; accepted are {', '.join(accepted)}."
        )
    if normal == "full":
        return _find_full_window(header)
    if normal == "default":
        return header.default_window or _find_full_window(header)
    return CT_PRESETS[normal]


def _find_full_window(header: StudyHeader) -> Window:
    low, high = header.value_range
    return Window((low + high) / 2, max(high - low, abs(header.slope_intercept[0])))
