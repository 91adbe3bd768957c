"""DICOM segmentations as masks: packed bits, fractions and label maps, in their places."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from mask_files import describe_segment, draw_masks, encode_binary, encode_masks, place_frame
from media_files import draw_grey, encode_dicom
from ophiscope.core.volume import parse_slice
from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.dicom_masks import decode_masks
from ophiscope.media.guard import open_media
from ophiscope.media.limits import DEFAULT_LIMITS
from ophiscope.media.masks import MaskSet
from ophiscope.media.study import read_masks, read_study


def read(tmp_path: Path, data: bytes) -> MaskSet:
    path = tmp_path / "masks"
    path.write_bytes(data)
    with open_media(path) as media:
        return decode_masks(media, DEFAULT_LIMITS)


def test_bits_that_cross_bytes_come_out_in_their_places(tmp_path: Path) -> None:
    drawn = draw_masks(4)  # 35 bits a frame: no frame but the first begins with a byte
    places = [(2.0, 1), (0.0, 1), (1.0, 1), (1.0, 2)]
    found = read(tmp_path, encode_binary(drawn, [place_frame(*place) for place in places]))
    assert [frame.segment for frame in found.frames] == [1, 1, 1, 2]
    assert [frame.slice_k for frame in found.frames] == [2, 0, 1, 1]
    for frame, mask in zip(found.frames, drawn, strict=True):
        np.testing.assert_array_equal(frame.mask_H_W, mask)
    np.testing.assert_array_equal(found.cut(1, parse_slice("axial:0")), drawn[1])
    np.testing.assert_array_equal(found.cut(2, parse_slice("axial:1")), drawn[3])
    assert not found.cut(2, parse_slice("axial:0")).any()
    np.testing.assert_array_equal(
        found.cut(1, parse_slice("coronal:3")), np.stack([drawn[0], drawn[2], drawn[1]])[:, 3]
    )
    np.testing.assert_array_equal(
        found.cut(1, parse_slice("sagittal:6")), np.stack([drawn[0], drawn[2], drawn[1]])[:, :, 6]
    )
    with pytest.raises(ValueError, match="Segment 3"):
        found.cut(3, parse_slice("axial:0"))


def test_segments_are_named_without_control_characters(tmp_path: Path) -> None:
    found = read(tmp_path, encode_binary(draw_masks(1), [place_frame(0.0, 1)]))
    assert [(one.number, one.label, one.code, one.automatic) for one in found.segments] == [
        (1, "", "SCT:10200004", True),  # there is an escape sequence in its name
        (2, "Cyst", "SCT:10200004", True),
    ]
    assert any("1 segment(s) have a name" in note for note in found.notes)


@pytest.mark.parametrize("name", ["DOE^JANE", "Liver of Jane", "liver 1999", "Liver\n", ""])
def test_a_name_of_other_than_known_words_is_left_out(tmp_path: Path, name: str) -> None:
    data = encode_binary(draw_masks(1), [place_frame(0.0, 1)], SegmentSequence=[describe_segment(1, name)])
    found = read(tmp_path, data)
    assert found.segments[0].label == ("Liver" if name == "Liver\n" else "")
    kept = encode_binary(draw_masks(1), [place_frame(0.0, 1)], SegmentSequence=[describe_segment(1, "Left kidney")])
    assert read(tmp_path, kept).segments[0].label == "Left kidney"


def test_masks_a_breath_apart_lie_in_one_slice(tmp_path: Path) -> None:
    places = [(0.0, 1), (1.0, 1), (0.0001, 2), (1.0001, 2)]
    found = read(tmp_path, encode_binary(draw_masks(4), [place_frame(*place) for place in places]))
    assert [frame.slice_k for frame in found.frames] == [0, 1, 0, 1]
    np.testing.assert_array_equal(found.cut(2, parse_slice("axial:0")), draw_masks(4)[2])


def test_masks_at_uneven_distances_have_no_grid(tmp_path: Path) -> None:
    places = [(0.0, 1), (1.0, 1), (2.0, 1), (100.0, 2), (101.3, 2), (102.0, 2)]
    found = read(tmp_path, encode_binary(draw_masks(6), [place_frame(*place) for place in places]))
    assert any("uneven distances" in note for note in found.notes)
    assert (found.grid, {frame.slice_k for frame in found.frames}) == (None, {None})
    with pytest.raises(ValueError, match="have no grid"):
        found.cut(1, parse_slice("axial:0"))


def test_fractions_of_one_half_count(tmp_path: Path) -> None:
    stored = np.array([[[0, 99, 100, 101, 200]]], np.uint8)
    data = encode_masks(stored, "FRACTIONAL", [place_frame(0.0, 2)], MaximumFractionalValue=200)
    found = read(tmp_path, data)
    np.testing.assert_array_equal(found.frames[0].mask_H_W, [[False, False, True, True, True]])
    assert found.notes[0] == "fractions of one half and more count as inside"


def test_a_label_map_gives_every_label_a_mask(tmp_path: Path) -> None:
    stored = np.array([[[0, 1, 2, 2, 1]]], np.uint8)
    found = read(tmp_path, encode_masks(stored, "LABELMAP", [place_frame(0.0, None)]))
    assert [frame.segment for frame in found.frames] == [1, 2]
    np.testing.assert_array_equal(found.frames[1].mask_H_W, [[False, False, True, True, False]])


def test_masks_without_a_place_have_no_grid(tmp_path: Path) -> None:
    data = encode_binary(draw_masks(1), [Dataset()], SharedFunctionalGroupsSequence=None, SegmentSequence=None)
    with pytest.raises(MediaRejected, match="does not describe"):
        read(tmp_path, data)
    frame = place_frame(0.0, 1)
    del frame.PlanePositionSequence
    found = read(tmp_path, encode_binary(draw_masks(1), [frame]))
    assert (found.grid, found.frames[0].slice_k) == (None, None)
    with pytest.raises(ValueError, match="have no grid"):
        found.cut(1, parse_slice("axial:0"))


@pytest.mark.parametrize(
    ("elements", "code"),
    [
        ({"SegmentationType": "OTHER"}, MediaCode.UNSUPPORTED),
        ({"Rows": 9}, MediaCode.CORRUPT),
        ({"Rows": 20_000}, MediaCode.TOO_LONG_SIDE),
        ({"Rows": 16_000, "Columns": 4_000, "NumberOfFrames": 9_999}, MediaCode.TOO_MANY_PIXELS),
        ({"PixelRepresentation": 1}, MediaCode.CORRUPT),
        ({"BitsAllocated": 4}, MediaCode.UNSUPPORTED),
    ],
)
def test_what_is_no_mask_is_refused(tmp_path: Path, elements: dict[str, Any], code: MediaCode) -> None:
    with pytest.raises(MediaRejected) as caught:
        read(tmp_path, encode_binary(draw_masks(1), [place_frame(0.0, 1)], **elements))
    assert caught.value.code is code


def test_masks_come_through_the_worker_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "masks"
    path.write_bytes(encode_binary(draw_masks(3), [place_frame(2.0, 1), place_frame(0.0, 2), place_frame(1.0, 1)]))
    near, far = read(tmp_path, path.read_bytes()), read_masks(path)
    assert far._replace(frames=()) == near._replace(frames=())
    assert [(one.segment, one.slice_k) for one in far.frames] == [(one.segment, one.slice_k) for one in near.frames]
    for one, other in zip(far.frames, near.frames, strict=True):
        np.testing.assert_array_equal(one.mask_H_W, other.mask_H_W)
    (tmp_path / "picture").write_bytes(encode_dicom(draw_grey()))
    with pytest.raises(MediaRejected, match="is no segmentation"):
        read_masks(tmp_path / "picture")


def test_a_segmentation_is_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "masks"
    path.write_bytes(encode_binary(draw_masks(1), [place_frame(0.0, 1)]))
    with pytest.raises(MediaRejected, match="masks, not a picture"):
        read_study(path)
