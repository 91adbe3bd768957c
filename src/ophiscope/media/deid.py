"""The gate that no identifying DICOM value passes.

It works by omission: the walk over a file copies the elements named here and nothing else, so a name, date or
identifier is never decoded at all. Of what is copied, only the elements of :data:`LEAVING` reach a
:class:`~ophiscope.core.study.StudyHeader`, as numbers or as words of closed lists; :data:`DECODING` serve to turn
stored values into pixels and stay inside ``media``.
"""

__all__ = ["COMPARED", "COPIED_TAGS", "DECODING", "LEAVING", "MODALITIES", "SEGMENT_WORDS", "TEXT_ON_PIXELS"]

LEAVING: dict[int, str] = {
    0x0008_0060: "Modality",
    0x0018_0040: "CineRate",
    0x0018_1063: "FrameTime",
    0x0018_1164: "ImagerPixelSpacing",
    0x0020_0032: "ImagePositionPatient",
    0x0020_0037: "ImageOrientationPatient",
    0x0028_0008: "NumberOfFrames",
    0x0028_0010: "Rows",
    0x0028_0011: "Columns",
    0x0028_0030: "PixelSpacing",
    0x0028_0034: "PixelAspectRatio",
    0x0028_0101: "BitsStored",
    0x0028_0301: "BurnedInAnnotation",
    0x0028_1050: "WindowCenter",
    0x0028_1051: "WindowWidth",
    0x0028_1052: "RescaleIntercept",
    0x0028_1053: "RescaleSlope",
    0x0028_1056: "VOILUTFunction",
    0x0028_2110: "LossyImageCompression",
}
"""Tags whose meaning may leave ``media``: numbers, and words of closed lists."""

DECODING: dict[int, str] = {
    0x0008_0008: "ImageType",
    0x0008_0016: "SOPClassUID",
    0x0008_2144: "RecommendedDisplayFrameRate",
    0x0018_0050: "SliceThickness",
    0x0018_0086: "EchoNumbers",
    0x0018_1065: "FrameTimeVector",
    0x0020_0011: "SeriesNumber",
    0x0020_0012: "AcquisitionNumber",
    0x0020_0013: "InstanceNumber",
    0x0020_0100: "TemporalPositionIdentifier",
    0x0028_0002: "SamplesPerPixel",
    0x0028_0004: "PhotometricInterpretation",
    0x0028_0006: "PlanarConfiguration",
    0x0028_0100: "BitsAllocated",
    0x0028_0102: "HighBit",
    0x0028_0103: "PixelRepresentation",
    0x0028_0120: "PixelPaddingValue",
    0x0028_0121: "PixelPaddingRangeLimit",
    0x0028_1101: "RedPaletteColorLookupTableDescriptor",
    0x0028_1102: "GreenPaletteColorLookupTableDescriptor",
    0x0028_1103: "BluePaletteColorLookupTableDescriptor",
    0x0028_1201: "RedPaletteColorLookupTableData",
    0x0028_1202: "GreenPaletteColorLookupTableData",
    0x0028_1203: "BluePaletteColorLookupTableData",
    0x0028_1221: "SegmentedRedPaletteColorLookupTableData",
    0x0028_1222: "SegmentedGreenPaletteColorLookupTableData",
    0x0028_1223: "SegmentedBluePaletteColorLookupTableData",
    0x0028_3000: "ModalityLUTSequence",
    0x0028_3010: "VOILUTSequence",
    0x0020_9311: "DimensionOrganizationType",
    0x0048_0006: "TotalPixelMatrixColumns",
    0x0048_0007: "TotalPixelMatrixRows",
    0x0062_0001: "SegmentationType",
    0x0062_0002: "SegmentSequence",
    0x0062_000E: "MaximumFractionalValue",
    0x5200_9229: "SharedFunctionalGroupsSequence",
    0x5200_9230: "PerFrameFunctionalGroupsSequence",
}
"""Tags read to turn stored values into pixels and to put these in order; nothing of them leaves."""

COMPARED = {0x0020_000E: "SeriesInstanceUID"}
"""Identifiers of which only a digest is made, to tell whether two files belong together; nothing of it leaves."""

_SEGMENT_WORDS = """
abdomen abscess adrenal airway airways aneurysm aorta appendix artery arteries atrium background bladder body bone
bowel brain breast bronchi bronchus calcification calcifications cartilage cavity cell cells chest colon core cyst
disc duct duodenum edema effusion emphysema enhancing esophagus eye fat femur fluid foreground gallbladder gland gland
glands head heart hemorrhage hepatic hernia hip implant infarct infiltrate kidney kidneys large larynx left lesion
lesions lens liver lobe lower lung lungs lymph mandible mass mediastinum metastasis middle muscle muscles myocardium
neck necrosis nerve node nodes nodule nodules non oedema organ organs ovary pancreas pancreatic pelvis peritoneum
pleura pneumothorax polyp portal prostate pulmonary rectum renal retina rib ribs right sacrum segment skin skull small
spinal cord spine spleen stent stomach target testis thorax thyroid tissue tongue trachea tumor tumors tumour tumours
upper ureter urethra uterus valve vein veins ventricle vertebra vertebrae vessel vessels whole 1 2 3 4 5 6 7 8 9 10
"""
SEGMENT_WORDS = frozenset(_SEGMENT_WORDS.split())
"""What a segment may be called; a name with any other word is left out."""

COPIED_TAGS = frozenset(LEAVING) | frozenset(DECODING)

_MODALITY_CODES = """
AR BDUS BI BMD CR CT DG DX ES GM HC IO IVOCT IVUS KER LEN LS MG MR NM OAM OCT OP OPM OPT OPTBSV OPV OSS OT PT PX RF RG
RTIMAGE SC SM TG US VA XA XC
"""

MODALITIES = frozenset(_MODALITY_CODES.split())
"""DICOM PS3.3 C.7.3.1.1.1, those that hold pictures; any other text in the element is dropped."""

TEXT_ON_PIXELS = "the pixels themselves may show text about the patient"
"""The note on a study that says so itself, or whose modality usually burns text into pictures; nothing is removed."""
