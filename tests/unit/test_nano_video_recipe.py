"""What nano on video learns from: labels at the right tokens, trajectories that copy what was shown, one step."""

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from ophiscope.core.message import ImagePart, Role, TextPart
from ophiscope.core.trace import StopReason
from ophiscope.models.local.forward import TokenBatch, compute_hidden
from ophiscope.models.local.nano import build_nano_config, build_nano_model
from ophiscope.models.local.tokens import load_codec
from ophiscope.recipes.mixture import draw_kind
from ophiscope.recipes.nano_video.frames import CLOSE_WH, LABELS, draw_frames
from ophiscope.recipes.nano_video.pretrain_frames import FrameHead, compute_frame_loss
from ophiscope.recipes.nano_video.seen import SEEN, KeptStates, SeenHead, compute_seen_loss, kept_states
from ophiscope.recipes.nano_video.shape import FRAME_WH, VIDEO_SHAPE
from ophiscope.recipes.nano_video.slices import draw_slices
from ophiscope.recipes.nano_video.tasks import MIXTURE, write_video_trajectory
from ophiscope.recipes.nano_video.trajectories import BODY_SHARE, draw_trajectory
from ophiscope.recipes.nano_video.words import train_video_tokenizer
from ophiscope.worlds.procedure_asks import ProcedureKind
from ophiscope.worlds.tasks import SHORT, draw_video_task

_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def test_labels_lie_where_things_are() -> None:
    """A clip is the one bright thing on tissue: the brightest token of a close frame carries its label."""
    clip = LABELS.index("clip")
    hits = total = 0
    for frame in itertools.islice(draw_frames(3), 400):
        h, w = frame.pixels_H_W_3.shape[:2]
        assert (w, h) in (FRAME_WH, CLOSE_WH)
        assert frame.present_M_L.shape == ((w // 16) * (h // 16), len(LABELS))
        held = frame.present_M_L[:, LABELS.index("grasper") : LABELS.index("hook") + 1]
        if frame.present_M_L[:, clip].sum() == 1 and not held.any():
            least = frame.pixels_H_W_3.min(axis=2).reshape(h // 16, 16, w // 16, 16).max(axis=(1, 3)).ravel()
            hits += int(frame.present_M_L[:, clip].argmax()) == int(least.argmax())
            total += 1
    assert total > 20
    assert hits / total > 0.6  # a clip on the border of two tokens, glare and smoke make the rest


def test_colours_are_known_in_close_frames_alone() -> None:
    for frame in itertools.islice(draw_frames(4), 60):
        known = not np.isnan(frame.present_M_L[:, LABELS.index("blue")]).any()
        assert known == (frame.pixels_H_W_3.shape[1] == CLOSE_WH[0])


def test_the_mixture_is_drawn_as_it_says() -> None:
    kinds, whole = [draw_kind(seed, MIXTURE) for seed in range(2000)], sum(MIXTURE.values())
    for kind, share in MIXTURE.items():
        assert kinds.count(kind) / len(kinds) == pytest.approx(share / whole, abs=0.03)


@pytest.mark.parametrize("kind", [ProcedureKind.WHEN, ProcedureKind.DESCRIBE, ProcedureKind.COLOUR])
def test_every_time_that_is_written_was_shown(kind: ProcedureKind) -> None:
    for seed in range(8):
        outcome = write_video_trajectory(draw_video_task(seed, kind, SHORT))
        assert outcome.stop is StopReason.ANSWERED
        shown: set[str] = set()
        for message in outcome.messages:
            if message.role is Role.ASSISTANT:
                written = json.dumps(message.text)
                times = {text for text in _NUMBER.findall(re.sub(r"\\[E[0-9]+\\]", "", written)) if "." in text}
                assert times <= shown, (times - shown, written)
            else:
                shown |= set(_NUMBER.findall(message.text))


def test_a_step_teaches_the_tower(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_nano_model(build_nano_config(512, image_token_id=3, shape=VIDEO_SHAPE), seed=0)
    head = FrameHead(VIDEO_SHAPE.hidden)
    optimizer = torch.optim.AdamW([*model.model.visual.parameters(), *head.parameters()], lr=2e-3)
    frames = [frame for frame in itertools.islice(draw_frames(1), 40) if frame.pixels_H_W_3.shape[1] == FRAME_WH[0]]
    losses = []
    for _ in range(6):
        loss, logits, labels = compute_frame_loss(model.model.visual, head, frames)
        assert logits.shape == labels.shape == (12 * len(frames), len(LABELS))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


def test_slices_are_labelled_at_the_tokens_of_organs_and_lesions() -> None:
    lesion, liver = LABELS.index("lesion"), LABELS.index("liver")
    held = inside = 0
    for picture in itertools.islice(draw_slices(3), 200):
        h, w = picture.pixels_H_W_3.shape[:2]
        assert (w, h) in ((48, 48), (128, 128))
        known = not np.isnan(picture.present_M_L[:, LABELS.index("lesion with a bright ring")]).any()
        assert known == (w == 128)
        if w == 128 and picture.present_M_L[:, liver].any():
            tokens = picture.pixels_H_W_3[:, :, 0].reshape(8, 16, 8, 16).mean(axis=(1, 3)).ravel()
            inside += bool(tokens[picture.present_M_L[:, liver] > 0].mean() > tokens.mean())
            held += 1
        assert picture.present_M_L[:, lesion].sum() <= 4
    assert held > 5
    assert inside == held


def test_what_a_picture_holds_is_told_beside_every_picture_and_only_where_it_shows() -> None:
    found: set[str] = set()
    bodies = 0
    for seed in range(40):
        outcome, seen_F_L = draw_trajectory(seed)
        views = [view for message in outcome.messages for view in message.views]
        assert seen_F_L.shape == (len(views), len(SEEN))
        names = {name for name, seen in zip(SEEN, seen_F_L.any(dim=0).tolist(), strict=True) if seen}
        volume = "liver" in names
        bodies += volume
        assert not (volume and names & {"clip", "bleed", "grasper"})
        found |= names
    assert bodies / 40 == pytest.approx(BODY_SHARE, abs=0.2)
    assert {"new clip", "clip applier", "spleen", "lesion of the liver", "liver"} <= found


def test_states_are_asked_right_after_pictures_and_at_their_stamps() -> None:
    """Two pictures end at places 3 and 9 of 19; only there, and where their stamps stand, does a gradient arrive."""
    torch.manual_seed(0)
    after, stamped = (torch.randn(1, 19, 32, requires_grad=True) for _ in range(2))
    ends = torch.zeros(1, 19, dtype=torch.bool)
    ends[0, [3, 9]] = True
    labels = torch.zeros(2, len(SEEN))
    compute_seen_loss(KeptStates(after, stamped), SeenHead(32), ends, labels).backward()
    assert after.grad is not None
    assert stamped.grad is not None
    assert after.grad[0].abs().sum(-1).nonzero().ravel().tolist() == [3, 9]
    assert stamped.grad[0].abs().sum(-1).nonzero().ravel().tolist() == [8, 9, 10, 14, 15, 16]


def test_the_number_of_a_stamp_stands_where_it_is_asked(tmp_path: Path) -> None:
    train_video_tokenizer().save(str(tmp_path / "tokenizer.json"))
    codec = load_codec(tmp_path)
    places = [codec.encode(stamp).index(codec.encode("447")[0]) + 1 for stamp in (
        "view 7: 447 s\n", "view 12: 447.5 s\n", "view 40: 447.25 s\n",
        "view 1: axial 447.5 mm\n", "view 33: axial -447 mm\n",
    )]  # fmt: skip
    assert places == [5, 5, 5, 6, 7]
    outcome, _ = draw_trajectory(2)
    (image, stamp) = next(
        (part, following)
        for message in outcome.messages
        for part, following in itertools.pairwise(message.parts)
        if isinstance(part, ImagePart)
    )
    assert isinstance(image, ImagePart)
    assert isinstance(stamp, TextPart)
    assert stamp.text.startswith("view 1: ")


def test_the_lesson_beside_answers_is_learned_from_what_it_is_given() -> None:
    torch.manual_seed(0)
    _, labels = draw_trajectory(2)
    count = len(labels)
    states = KeptStates(*(torch.randn(1, 8 * count, 32) for _ in range(2)))
    ends = torch.zeros(1, 8 * count, dtype=torch.bool)
    ends[0, ::8] = True
    head = SeenHead(32)
    optimizer = torch.optim.Adam(head.parameters(), 0.03)
    losses = []
    for _ in range(80):
        loss = compute_seen_loss(states, head, ends, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_states_are_those_that_enter_the_asked_layers_and_nothing_stays_hooked() -> None:
    model = build_nano_model(build_nano_config(512, image_token_id=3, shape=VIDEO_SHAPE), seed=0)
    text = model.model.language_model
    tokens = TokenBatch(torch.ones(2, 7, dtype=torch.int64), torch.zeros(3, 2, 7, dtype=torch.int64))
    with kept_states(text) as kept:
        compute_hidden(model, tokens)
    first = kept()
    assert first.after_B_T_D.shape == first.stamped_B_T_D.shape == (2, 7, VIDEO_SHAPE.hidden)
    assert not torch.equal(first.after_B_T_D, first.stamped_B_T_D)
    compute_hidden(model, tokens)
    assert kept().after_B_T_D is first.after_B_T_D
