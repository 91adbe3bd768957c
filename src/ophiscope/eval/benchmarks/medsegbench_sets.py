"""What the 35 sets of MedSegBench show: the modality, and what each class is.

The files name most classes "foreground"; the words here are ours, from the papers of the sets. A class with no words
is no target that one can ask for ("unknown", "ambiguous", "black"), and is left out.
"""

from typing import Final, NamedTuple

__all__ = ["SETS", "SegSet"]


class SegSet(NamedTuple):
    """One set."""

    modality: str
    targets: tuple[str, ...]
    """Of class 1, 2, ... of a label map; the only one of a set without classes, whose every label but 0 counts."""
    per_label: bool = False
    """Whether each target has an array of its own (``test_label_C1``, ...)."""

    @property
    def has_classes(self) -> bool:
        """Whether the label map tells classes apart."""
        return len(self.targets) > 1 and not self.per_label


_ENDOSCOPY, _FUNDUS, _ULTRASOUND, _XRAY = "endoscopy image", "fundus photograph", "ultrasound image", "chest X-ray"
_HISTOLOGY, _FLUORESCENCE = "histopathology image", "fluorescence microscopy image"
_MICROSCOPY, _DERMOSCOPY, _ANGIOGRAM = "microscopy image", "dermoscopy image", "X-ray angiogram"
_INSTRUMENTS = ("grasper", "bipolar forceps", "hook", "scissors", "clipper", "irrigator", "specimen bag", "trocars")
_OPERATION = ("clip", "liver", "gallbladder", "fat", "", "artery", "intestine", "bile", "blood", "")
_ABDOMEN = ("liver", "kidney", "pancreas", "vessels", "adrenal glands", "gallbladder", "bones", "spleen")

SETS: Final = {
    "abdomenus": SegSet(_ULTRASOUND, _ABDOMEN),
    "bbbc010": SegSet(_MICROSCOPY, ("worms",)),
    "bkai-igh": SegSet(_ENDOSCOPY, ("neoplastic polyps", "non-neoplastic polyps")),
    "brifiseg": SegSet("bright-field microscopy image", ("cell nuclei",)),
    "busi": SegSet(_ULTRASOUND, ("breast tumor",)),
    "cellnuclei": SegSet(_MICROSCOPY, ("cell nuclei",)),
    "chasedb1": SegSet(_FUNDUS, ("retinal vessels",)),
    "chuac": SegSet(_ANGIOGRAM, ("coronary arteries",)),
    "covid19radio": SegSet(_XRAY, ("lungs",)),
    "covidquex": SegSet(_XRAY, ("COVID-19 infection",)),
    "cystoidfluid": SegSet("OCT image", ("cystoid macular fluid",)),
    "dca1": SegSet(_ANGIOGRAM, ("coronary arteries",)),
    "deepbacs": SegSet(_MICROSCOPY, ("bacteria",)),
    "drive": SegSet(_FUNDUS, ("retinal vessels",)),
    "dynamicnuclear": SegSet(_FLUORESCENCE, ("cell nuclei",)),
    "fhpsaop": SegSet(_ULTRASOUND, ("pubic symphysis", "fetal head")),
    "idrib": SegSet(_FUNDUS, ("microaneurysms", "hemorrhages", "hard exudates", "optic disc"), per_label=True),
    "isic2016": SegSet(_DERMOSCOPY, ("skin lesion",)),
    "isic2018": SegSet(_DERMOSCOPY, ("skin lesion",)),
    "kvasir": SegSet(_ENDOSCOPY, ("polyp",)),
    "m2caiseg": SegSet(_ENDOSCOPY, (*_INSTRUMENTS, *_OPERATION)),
    "monusac": SegSet(_HISTOLOGY, ("epithelial cells", "lymphocytes", "macrophages", "neutrophils", "")),
    "mosmedplus": SegSet("CT", ("COVID-19 infection of the lungs",)),
    "nuclei": SegSet(_HISTOLOGY, ("cell nuclei",)),
    "nuset": SegSet(_FLUORESCENCE, ("cell nuclei",)),
    "pandental": SegSet("panoramic dental X-ray", ("mandible",)),
    "polypgen": SegSet(_ENDOSCOPY, ("polyp",)),
    "promise12": SegSet("MRI", ("prostate",)),
    "robotool": SegSet(_ENDOSCOPY, ("surgical instruments",)),
    "tnbcnuclei": SegSet(_HISTOLOGY, ("cell nuclei",)),
    "ultrasoundnerve": SegSet(_ULTRASOUND, ("brachial plexus nerves",)),
    "usforkidney": SegSet(_ULTRASOUND, ("kidney",)),
    "uwaterlooskincancer": SegSet("skin photograph", ("skin lesion",)),
    "wbc": SegSet("blood smear microscopy image", ("cytoplasm", "nucleus")),
    "yeaz": SegSet(_MICROSCOPY, ("yeast cells",)),
}
