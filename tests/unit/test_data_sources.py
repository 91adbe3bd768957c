"""Readers of annotated pictures and videos."""

import json

import numpy as np
import pytest
from PIL import Image

from mask_files import draw_masks, encode_binary, place_frame
from media_files import encode_dicom
from ophiscope.data.sources.annotated import Unusable
from ophiscope.data.sources.pictures import list_pictures
from ophiscope.data.sources.videos import list_videos
from ophiscope.errors import WrongInput
from set_cases import draw_blob, write_mask_folders, write_segments


def test_mask_folders(tmp_path):
    pictures = list_pictures(write_mask_folders(tmp_path, 2))
    assert [picture.key for picture in pictures] == ["p0.png", "p1.png"]
    assert [[region.target for region in picture.regions] for picture in pictures] == [["polyp", "ulcer"], ["polyp"]]
    assert pictures[1].absent == ("ulcer",)
    assert pictures[0].regions[0].load((48, 48)).sum() == 16 * 12
    with pytest.raises(Unusable, match="another size"):
        pictures[0].regions[0].load((47, 48))


def _write_coco(root, annotations):
    (root / "images").mkdir()
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(root / "images" / "a.png")
    value = {
        "images": [{"id": 1, "file_name": "a.png", "license": 4}],
        "licenses": [{"id": 4, "name": "CC BY-NC 4.0"}],
        "categories": [{"id": 7, "name": "cell"}, {"id": 8, "name": "vessel"}],
        "annotations": [{"id": i, "image_id": 1, **one} for i, one in enumerate(annotations)],
    }
    (root / "instances.json").write_text(json.dumps(value))
    return root


def test_coco_polygon_rle_and_box(tmp_path):
    pytest.importorskip("pycocotools")
    whole = draw_blob(50, (5, 6, 15, 20))[:40]
    counts, value = [], False
    for bit in whole.ravel(order="F"):  # uncompressed RLE goes down the columns
        if bit == value and counts:
            counts[-1] += 1
        elif bit == value:
            counts.append(1)
        else:
            counts += [1] if counts else [0, 1]
            value = bit
    root = _write_coco(
        tmp_path,
        [
            {"category_id": 7, "segmentation": [[5, 6, 15, 6, 15, 20, 5, 20]]},
            {"category_id": 7, "segmentation": {"size": [40, 50], "counts": counts}},
            {"category_id": 7, "bbox": [5, 6, 10, 14]},
            {"category_id": 7, "segmentation": {"size": [40, 50], "counts": [2000]}, "iscrowd": 1},
            {"category_id": 9, "bbox": [45, 6, 10, 14]},
        ],
    )
    (picture,) = list_pictures(root)
    assert picture.license == "CC BY-NC 4.0"
    assert picture.absent == ("vessel",)
    masks = [region.load((50, 40)) for region in picture.regions[:3]]
    assert all((mask == whole).all() for mask in masks)
    with pytest.raises(Unusable, match="outside"):
        picture.regions[3].load((50, 40))


def test_masks_beside_their_pictures(tmp_path):
    for name, boxes in (("benign/a", [(4, 6, 20, 18), (30, 30, 40, 40)]), ("normal/b", [])):
        (tmp_path / name).parent.mkdir()
        Image.fromarray(np.zeros((48, 48, 3), np.uint8)).save(tmp_path / f"{name}.png")
        for number, box in enumerate(boxes):
            end = f"_{number}" if number else ""
            Image.fromarray(draw_blob(48, box)).save(tmp_path / f"{name}_mask{end}.png")
    one, two = list_pictures(tmp_path)
    assert [region.load((48, 48)).sum() for region in one.regions] == [16 * 12, 100]
    assert (one.key, one.absent) == ("benign/a.png", ())
    assert (two.key, two.absent) == ("normal/b.png", ("lesion",))


def test_label_maps_by_slices(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    volume = np.random.default_rng(0).integers(-100, 200, (20, 18, 8)).astype(np.int16)
    labels = np.zeros(volume.shape, np.uint8)
    labels[4:9, 3:8, 2:7] = 5
    labels[12:14, 3:5, 5] = 9
    affine = np.diag([1.5, 1.5, 5.0, 1.0])
    for name, values in (("ct", volume), ("labels", labels)):
        nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / f"{name}.nii.gz")
    entry = {"image": "ct.nii.gz", "labels": "labels.nii.gz", "names": {"5": "liver"}, "license": "CC0"}
    (tmp_path / "volumes.json").write_text(json.dumps([entry]))
    pictures = list_pictures(tmp_path)
    assert len(pictures) == 8
    named = {picture.key: [region.target for region in picture.regions] for picture in pictures}
    shown = [key for key, targets in named.items() if "liver" in targets]
    assert len(shown) == 5
    both = next(picture for picture in pictures if len(picture.regions) == 2)
    assert both.regions[0].load((20, 18)).sum() == 25
    with pytest.raises(Unusable, match="outside of the map: 9"):
        both.regions[1].load((20, 18))


def test_a_folder_without_annotation_is_refused(tmp_path):
    with pytest.raises(WrongInput, match="Nothing annotated"):
        list_pictures(tmp_path)
    with pytest.raises(WrongInput, match="No timed segments"):
        list_videos(tmp_path)


def test_segments_of_csv_and_vtt(tmp_path):
    pytest.importorskip("webvtt")
    write_segments(tmp_path / "all.csv", [("a.mp4", 1.5, 4, "cut"), ("b.mp4", 0, 2, "sew"), ("a.mp4", 0, 1, "look")])
    (tmp_path / "c.vtt").write_text("WEBVTT\n\n00:01:02.500 --> 01:00:03.250\na clip\nis applied\n")
    videos = {video.subject: video for video in list_videos(tmp_path)}
    assert [(s.start_s, s.end_s, s.label) for s in videos["a"].segments] == [(0, 1, "look"), (1.5, 4, "cut")]
    assert [(s.start_s, s.end_s, s.label) for s in videos["c"].segments] == [(62.5, 3603.25, "a clip is applied")]
    assert videos["b"].vocabulary == ("a clip is applied", "cut", "look", "sew")


def test_cholec_phases_tools_and_triplets(tmp_path):
    frames = [
        "Frame\tPhase",
        *(f"{i}\tPreparation" for i in range(50)),
        *(f"{i}\tGallbladderDissection" for i in range(50, 100)),
    ]
    (tmp_path / "video01-phase.txt").write_text("\n".join(frames))
    (tmp_path / "video01-tool.txt").write_text("Frame\tGrasper\tHook\n0\t1\t0\n25\t1\t0\n50\t0\t0\n75\t1\t0\n")
    triplets = {
        "num_frames": 9,
        "categories": {"triplet": {"3": "grasper,retract,gallbladder"}},
        "annotations": {"0": [[3, 0]], "1": [[3, 0]], "2": [[-1, 0]], "5": [[3, 0]]},
    }
    (tmp_path / "VID02.json").write_text(json.dumps(triplets))
    found = {video.key: [(s.start_s, s.end_s, s.label) for s in video.segments] for video in list_videos(tmp_path)}
    assert found["video01-phase.txt#video01"] == [(0, 2, "preparation"), (2, 4, "gallbladder dissection")]
    assert found["video01-tool.txt"] == [(0, 2, "use of the grasper"), (3, 4, "use of the grasper")]
    assert found["VID02.json#VID02"] == [(0, 2, "grasper retract gallbladder"), (5, 6, "grasper retract gallbladder")]


def _write_series(root, count):
    folder = root / "ct"
    folder.mkdir()
    for number in range(count):
        place = {
            "ImagePositionPatient": [0.0, 0.0, 5.0 * number], "ImageOrientationPatient": [1.0, 0, 0, 0, 1.0, 0],
            "PixelSpacing": [0.5, 0.5], "SliceThickness": 5.0, "InstanceNumber": number + 1,
            "SeriesInstanceUID": "1.2.3", "SOPInstanceUID": f"1.2.3.{number + 1}", "FrameOfReferenceUID": "1.9",
        }  # fmt: skip
        stored = np.random.default_rng(number).integers(0, 2000, (5, 7)).astype(np.uint16)
        (folder / f"{number}.dcm").write_bytes(encode_dicom(stored, **place))
    return folder


def test_a_segmentation_is_matched_by_where_it_lies(tmp_path):
    _write_series(tmp_path, 6)
    masks = draw_masks(2)
    frames = [place_frame(10.0, 1), place_frame(15.0, 2)]  # of the third and fourth slice alone
    (tmp_path / "seg.dcm").write_bytes(encode_binary(masks, frames))
    (tmp_path / "volumes.json").write_text(json.dumps([{"image": "ct", "seg": "seg.dcm"}]))
    found = {picture.key: [region.load((7, 5)) for region in picture.regions] for picture in list_pictures(tmp_path)}
    assert [len(one) for one in found.values()] == [0, 0, 1, 1, 0, 0]
    assert (found["ct#axial:2"][0] == masks[0]).all()
    assert (found["ct#axial:3"][0] == masks[1]).all()


def test_labels_of_another_grid_are_refused(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    for name, depth in (("ct", 8), ("labels", 7)):
        image = nibabel.Nifti1Image(np.zeros((6, 6, depth), np.int16), np.diag([1, 1, 5.0, 1]))
        nibabel.save(image, tmp_path / f"{name}.nii")
    (tmp_path / "volumes.json").write_text(json.dumps([{"image": "ct.nii", "labels": "labels.nii"}]))
    with pytest.raises(WrongInput, match="grid of their picture"):
        list_pictures(tmp_path)
