"""The tokenizer of nano on video: that of nano with the phrases of the tools along time and depth."""

from typing import Any

from ophiscope.models.local.tokens import TextCodec
from ophiscope.recipes.nano.vocabulary import GRAMMAR, GREATEST_NUMBER, train_tokenizer
from ophiscope.recipes.nano_video.body_tasks import BODY_MIXTURE, write_body_trajectory
from ophiscope.recipes.nano_video.tasks import MIXTURE, write_video_trajectory
from ophiscope.worlds.body import Middle, Organ
from ophiscope.worlds.procedure import Instrument, Tint
from ophiscope.worlds.tasks import draw_body_task, draw_video_task

__all__ = ["find_weighty_ids", "train_video_tokenizer"]

_PHRASES = (
    "crop_video\", \"arguments\": {\"start_s\": ", ", \"end_s\": ", "get_frame\", \"arguments\": {\"time_s\": ",
    "}}</tool_call>", "\", \"views\": [", "], \"interval_s\": [", "], \"time_s\": ", " s\n", "interval ", " s: ",
    "There at ", " s, not at ", " s.", "Contact from ", " to ", " frames; ", " are shown", " video ", "0 to ",
    "the key frames nearest to even times",
    "crop_stack\", \"arguments\": {\"axis\": \"axial\", \"start_mm\": ", ", \"end_mm\": ",
    "get_slice\", \"arguments\": {\"axis\": \"axial\", \"position_mm\": ", "], \"axis\": \"axial\", \"interval_mm\": [",
    ", \"axis\": \"axial\", \"position_mm\": ", "axial ", "coronal ", "sagittal ", " mm\n", " mm.", " mm ", " mm, ",
    " slices", "It shows at ", "position ", " shows from ", "Lesions seen: ", " volume, ",
)  # fmt: skip
_CORPUS_PER_KIND = 60


def train_video_tokenizer() -> Any:
    """A tokenizer over the texts of trajectories."""
    videos = [draw_video_task(seed, kind) for kind in MIXTURE for seed in range(_CORPUS_PER_KIND)]
    volumes = [draw_body_task(seed, kind) for kind in BODY_MIXTURE for seed in range(_CORPUS_PER_KIND)]
    outcomes = [*map(write_video_trajectory, videos), *map(write_body_trajectory, volumes)]
    texts = [message.text for outcome in outcomes for message in outcome.messages]
    return train_tokenizer(texts, words=560, grammar=(*GRAMMAR, *_PHRASES))


def find_weighty_ids(codec: TextCodec) -> frozenset[int]:
    """Numbers, and the words on which answers hang: few beside the phrases that never vary."""
    zero = codec.encode("0")[0]
    words = [*(tint.value for tint in Tint), *(tool.value for tool in Instrument), "yes", "no", "nothing"]
    words += ["clip", "stapler", "vessel", "tissue", *(middle.value.split()[-1] for middle in Middle)]
    words += [organ.value for organ in Organ]
    found = {codec.encode(before + word)[0] for word in words for before in ("", " ")}
    return frozenset(found | set(range(zero, zero + GREATEST_NUMBER + 1)))
