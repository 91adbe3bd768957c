"""What nano on video learns from: labels at the right tokens, trajectories that copy what was shown, one step."""

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from ophiscope.core.message import Role
from ophiscope.core.trace import StopReason
from ophiscope.models.local.forward import TokenBatch, compute_hidden
from ophiscope.models.local.nano import build_nano_config, build_nano_model
from ophiscope.recipes.nano.vocabulary import GREATEST_NUMBER
from ophiscope.recipes.nano_video.frames import CLOSE_WH, LABELS, draw_frames
from ophiscope.recipes.nano_video.pretrain_frames import FrameHead, compute_frame_loss
from ophiscope.recipes.nano_video.seen import SEEN, SeenHead, compute_seen_loss, kept_state
from ophiscope.recipes.nano_video.shape import FRAME_WH, VIDEO_SHAPE
from ophiscope.recipes.nano_video.slices import draw_slices
from ophiscope.recipes.nano_video.tasks import MIXTURE, SHORT, draw_video_task, write_video_trajectory
from ophiscope.recipes.nano_video.trajectories import BODY_SHARE, draw_from, draw_trajectory
from ophiscope.worlds.procedure_asks import ProcedureKind

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
    kinds, whole = [draw_from(MIXTURE, seed) for seed in range(2000)], sum(MIXTURE.values())
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
        outcome, facts = draw_trajectory(seed)
        views = [view for message in outcome.messages for view in message.views]
        assert facts.seen_F_L.shape == (len(views), len(SEEN))
        stamps = [abs(view.picture.place.value) for view in views if view.picture.place]
        near = facts.whole_F + facts.tenth_F / 10
        assert all(
            float(told) == pytest.approx(stamp, abs=0.06) or stamp > GREATEST_NUMBER
            for told, stamp in zip(near, stamps, strict=True)
        )
        names = {name for name, seen in zip(SEEN, facts.seen_F_L.any(dim=0).tolist(), strict=True) if seen}
        volume = "liver" in names
        bodies += volume
        assert not (volume and names & {"clip", "bleed", "grasper"})
        found |= names
    assert bodies / 40 == pytest.approx(BODY_SHARE, abs=0.2)
    assert {"new clip", "clip applier", "spleen", "lesion of the liver", "liver"} <= found


def test_the_lesson_beside_answers_is_learned_from_what_it_is_given() -> None:
    torch.manual_seed(0)
    _, facts = draw_trajectory(2)
    state = torch.randn(len(facts.whole_F), 32)
    head, numbers = SeenHead(32), torch.randn(GREATEST_NUMBER + 1, 32)
    optimizer = torch.optim.Adam(head.parameters(), 0.03)
    losses = []
    for _ in range(60):
        loss = compute_seen_loss(state, head, facts, numbers)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 4


def test_the_kept_state_is_that_after_each_picture_and_nothing_stays_hooked() -> None:
    model = build_nano_model(build_nano_config(512, image_token_id=3, shape=VIDEO_SHAPE), seed=0)
    text = model.model.language_model
    tokens = TokenBatch(torch.ones(2, 7, dtype=torch.int64), torch.zeros(3, 2, 7, dtype=torch.int64))
    with kept_state(text) as kept:
        compute_hidden(model, tokens)
    assert [tuple(state.shape) for state in kept] == [(2, 7, VIDEO_SHAPE.hidden)]
    compute_hidden(model, tokens)
    assert len(kept) == 1
