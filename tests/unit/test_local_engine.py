"""Sampling with a cache: the same as without, whatever else runs, and honest about what it did."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # a tiny model loses more to threads than it gains
pytest.importorskip("transformers")

from ophiscope.core.chat import FinishReason, Reply, Request  # noqa: E402
from ophiscope.core.frame import Frame  # noqa: E402
from ophiscope.core.message import ImagePart, Message, Role, TextPart  # noqa: E402
from ophiscope.core.view import Picture, View  # noqa: E402
from ophiscope.errors import ModelFailed, WrongInput  # noqa: E402
from ophiscope.models.local.engine import LocalModel, LocalParts  # noqa: E402
from ophiscope.models.local.forward import TokenBatch, compute_logits  # noqa: E402
from ophiscope.models.local.load import load_local, load_model, load_nano_model, write_checkpoint  # noqa: E402
from ophiscope.models.local.nano import build_nano_config, build_nano_model  # noqa: E402
from ophiscope.models.local.sampling import forbid  # noqa: E402
from ophiscope.models.local.tiny import build_tiny_tokenizer, write_tiny_checkpoint  # noqa: E402
from ophiscope.protocol.templates import IM_END, IMAGE_PAD, VISION_START  # noqa: E402

FAMILIES = ("qwen3_vl", "qwen2_5_vl")
TURNS = 6
CLOSE_CALL = 1e-3
"""Where the two best logits are nearer than this, round-off may decide between them."""


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    return {family: write_tiny_checkpoint(root / family, family) for family in FAMILIES}


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest, directories: dict[str, Path]) -> LocalModel:
    return load_local(f"hf:{directories[request.param]}", offline=True)


def build_view(model: LocalModel, seed: int, units_wh: tuple[int, int] = (2, 2)) -> View:
    unit = model.card.patch_px
    w, h = units_wh[0] * unit, units_wh[1] * unit
    pixels = np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)
    return View(seed, Picture("study", Frame(f"root{seed}", (w, h)), pixels))


def say(role: Role, text: str, *views: View) -> Message:
    return Message(role, (*(ImagePart(view) for view in views), TextPart(text)))


def answer(reply: Reply) -> Message:
    return Message(Role.ASSISTANT, (TextPart(reply.text),), token_ids=reply.token_ids)


def ask(session: str, messages: Sequence[Message], *, max_tokens: int = 8, **options: Any) -> Request:
    return Request(session, tuple(messages), seed=options.pop("seed", 0), max_tokens=max_tokens, **options)


def build_start(model: LocalModel, seed: int) -> list[Message]:
    first = build_view(model, seed, (3, 2)), build_view(model, seed + 1)
    return [say(Role.SYSTEM, "Look."), say(Role.USER, f"What is {seed}?", *first)]


def build_observation(model: LocalModel, seed: int) -> Message:
    sizes = ((2, 2), (1, 3), (4, 1))
    return say(Role.TOOL, f"seen {seed}", *(build_view(model, seed + i, sizes[(seed + i) % 3]) for i in range(2)))


def check_against_full(model: LocalModel, request: Request, reply: Reply) -> None:
    """The reply's tokens and log-probabilities against one forward over the whole, which reads no cache."""
    assert reply.token_ids is not None
    assert reply.logprobs is not None
    parts = model.parts
    prompt = model.tokenize(request)
    whole = model.build_batch(prompt)
    extended = torch.cat((whole.token_ids_B_T, torch.tensor([reply.token_ids])), dim=1)
    following = int(whole.positions_3_B_T[:, 0, -1].max()) + 1
    steps = torch.arange(following, following + len(reply.token_ids)).expand(3, 1, -1)
    batch = TokenBatch(extended, torch.cat((whole.positions_3_B_T, steps), dim=2), whole.patches_N_P, whole.grids)
    with torch.no_grad():
        logits = compute_logits(parts.model, batch)[0, len(prompt.token_ids) - 1 : -1]
    logprobs = forbid(logits, parts.codec.forbidden_ids)
    for token, logprob, row in zip(reply.token_ids, reply.logprobs, logprobs, strict=True):
        assert abs(float(row[token]) - logprob) < 1e-4
        best, second = row.topk(2).values.tolist()
        if best - second > CLOSE_CALL:
            assert token == int(row.argmax())


def test_cached_equals_full_over_six_turns(model: LocalModel) -> None:
    messages = build_start(model, 10)
    for turn in range(TURNS):
        request = ask("s", messages)
        [reply] = model.sample([request])
        assert reply.recomputed_tokens == 0
        assert reply.notes == ()
        check_against_full(model, request, reply)
        messages += [answer(reply), build_observation(model, 100 * turn + 20)]


def test_interleaved_sessions_do_not_disturb_one_another(model: LocalModel) -> None:
    talks = {name: build_start(model, seed) for name, seed in (("a", 1), ("b", 50), ("c", 90))}
    for turn in range(3):
        for name, messages in talks.items():
            request = ask(name, messages, max_tokens=5)
            [reply] = model.sample([request])
            assert reply.recomputed_tokens == 0
            check_against_full(model, request, reply)
            messages.append(answer(reply))
            views = 2 if name == "a" else 0  # their positions drift apart
            extra = [build_view(model, 7 * turn + i) for i in range(views)]
            messages.append(say(Role.TOOL, f"{name}{turn}" * (turn + 1), *extra))


def test_a_batch_gives_what_each_would_alone(model: LocalModel, directories: dict[str, Path]) -> None:
    talks = {name: build_start(model, seed) for name, seed in (("a", 1), ("b", 50), ("c", 90))}
    talks["b"].insert(1, say(Role.USER, "a longer beginning " * 3))
    limits = {"a": 3, "b": 12, "c": 7}
    for turn in range(3):
        requests = [ask(name, messages, max_tokens=limits[name]) for name, messages in talks.items()]
        replies = model.sample(requests)
        for request, reply in zip(requests, replies, strict=True):
            assert reply.recomputed_tokens == 0
            check_against_full(model, request, reply)
            talks[request.session] += [answer(reply), build_observation(model, 30 * turn + 5)]


def test_a_beginning_that_several_share_is_run_once(model: LocalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal tokens and pixels: one run, and each goes on from it as if it were its own; others run apart."""
    run: list[str] = []
    original = LocalModel._run_prompt

    def count(self: LocalModel, turn: Any, features: Any) -> Any:
        run.append(turn.request.session)
        return original(self, turn, features)

    monkeypatch.setattr(LocalModel, "_run_prompt", count)
    starts = [build_start(model, 5), build_start(model, 5), build_start(model, 5), build_start(model, 7)]
    # the same words about other pixels, and the same pixels in other words
    starts[2] = [starts[2][0], say(Role.USER, "What is 5?", build_view(model, 5, (3, 2)), build_view(model, 9))]

    def play(names: Sequence[str], together: bool) -> list[tuple[int, ...]]:
        talks, said = [list(start) for start in starts], []
        for turn in range(2):
            asked = [
                ask(name, talk, seed=index, temperature=1.0)
                for index, (name, talk) in enumerate(zip(names, talks, strict=True))
            ]
            replies = model.sample(asked) if together else [model.sample([one])[0] for one in asked]
            for talk, reply in zip(talks, replies, strict=True):
                said.append(reply.token_ids or ())
                talk += [answer(reply), say(Role.TOOL, f"turn {turn}", build_view(model, 20 + turn))]
        return said

    together = play(["a", "b", "c", "d"], together=True)
    assert run[:3] == ["a", "c", "d"]
    assert len(run) == 3 + 4
    assert together == play(["e", "f", "g", "h"], together=False)


def test_what_hugging_face_remembers_does_not_matter(model: LocalModel) -> None:
    request = ask("s", build_start(model, 10))
    inner = model.parts.model.model
    inner.rope_deltas = torch.tensor([[-31]])
    [reply] = model.sample([request])
    check_against_full(model, request, reply)
    assert torch.equal(inner.rope_deltas, torch.tensor([[-31]]))


def test_the_first_logits_equal_those_of_the_original(model: LocalModel) -> None:
    request = ask("s", build_start(model, 10))
    batch = model.build_batch(model.tokenize(request))
    original = model.parts.model
    original.model.rope_deltas = None
    with torch.no_grad():
        theirs = original(
            input_ids=batch.token_ids_B_T,
            pixel_values=batch.patches_N_P,
            image_grid_thw=torch.tensor(batch.grids),
            mm_token_type_ids=(batch.token_ids_B_T == original.config.image_token_id).int(),
            use_cache=False,
        ).logits[0, -1]
    torch.testing.assert_close(model.compute_next_logits(request), theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("change", ["text", "pixels"])
def test_a_changed_past_is_run_again_and_said(model: LocalModel, change: str) -> None:
    messages = build_start(model, 10)
    [reply] = model.sample([ask("s", messages)])
    if change == "text":
        messages[1] = say(Role.USER, "What is it?", *messages[1].views)
    else:  # as many tokens, other pixels
        messages[1] = say(Role.USER, "What is 10?", messages[1].views[0], build_view(model, 999))
    request = ask("s", [*messages, answer(reply), say(Role.USER, "And now?")])
    [second] = model.sample([request])
    assert second.recomputed_tokens is not None
    assert second.prompt_tokens is not None
    assert 0 < second.recomputed_tokens < second.prompt_tokens
    assert "prefix mismatch" in second.notes[0]
    check_against_full(model, request, second)
    [third] = model.sample([ask("s", [*request.messages, answer(second), say(Role.USER, "Go on.")])])
    assert third.recomputed_tokens == 0


def test_equal_pixels_in_another_object_are_not_run_again(model: LocalModel) -> None:
    messages = build_start(model, 10)
    [reply] = model.sample([ask("s", messages)])
    again = build_start(model, 10)
    [second] = model.sample([ask("s", [*again, answer(reply), say(Role.USER, "Go on.")])])
    assert second.recomputed_tokens == 0


def test_a_closed_session_is_forgotten(model: LocalModel) -> None:
    messages = build_start(model, 10)
    [reply] = model.sample([ask("s", messages)])
    model.close("s")
    model.close("never seen")
    request = ask("s", [*messages, answer(reply), say(Role.USER, "Go on.")])
    [second] = model.sample([request])
    assert second.recomputed_tokens == 0
    assert second.notes == ()
    check_against_full(model, request, second)


def test_seeds_decide_the_sample(model: LocalModel) -> None:
    messages = build_start(model, 10)

    def draw(session: str, seed: int) -> tuple[int, ...] | None:
        return model.sample([ask(session, messages, seed=seed, temperature=1.0, max_tokens=12)])[0].token_ids

    assert draw("a", 1) == draw("b", 1)
    assert len({draw(f"c{seed}", seed) for seed in range(4)}) > 1
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    draw("d", 3)
    assert torch.equal(torch.rand(1), expected), "torch's own generator was moved"


def test_no_picture_token_is_ever_sampled(model: LocalModel) -> None:
    banned = model.parts.codec.forbidden_ids
    assert {model.parts.codec.special_ids[token] for token in (IMAGE_PAD, VISION_START)} < set(banned)
    likely = _Head(model.parts.model.lm_head, banned)
    loaded = SimpleNamespace(model=model.parts.model.model, config=model.parts.model.config, lm_head=likely)
    request = ask("s", build_start(model, 10), temperature=1.5, max_tokens=40)
    free = replace(model.parts, model=loaded, codec=replace(model.parts.codec, forbidden_ids=()))
    with pytest.raises(ValueError, match="places for visual tokens"):  # what a model does that nobody holds back
        LocalModel(free).sample([request])
    [sampled] = LocalModel(replace(free, codec=model.parts.codec)).sample([request])
    assert len(sampled.token_ids or ()) == 40
    assert not set(sampled.token_ids or ()) & set(banned)


class _Head(torch.nn.Module):
    """An output head that wants some tokens above all, and never the end."""

    def __init__(self, head: Any, wanted: Sequence[int]) -> None:
        super().__init__()
        self.head, self.wanted, self.weight = head, list(wanted), head.weight

    def forward(self, hidden: Any) -> Any:
        logits = self.head(hidden)
        logits[..., self.wanted] += 100
        logits[..., max(self.wanted) + 1 :] = -100
        logits[..., build_tiny_tokenizer().token_to_id(IM_END)] = -100
        return logits


def test_length_and_context_end_a_reply(model: LocalModel) -> None:
    messages = build_start(model, 10)
    forever = _with(model, forbidden=(model.parts.codec.end_id,))
    [short] = forever.sample([ask("s", messages, max_tokens=3)])
    assert (short.finish, len(short.token_ids or ())) == (FinishReason.LENGTH, 3)
    prompt = len(model.tokenize(ask("s", messages)).token_ids)
    tight = _with(model, forbidden=(model.parts.codec.end_id,), context=prompt + 4)
    [cut] = tight.sample([ask("s", messages, max_tokens=30)])
    assert (cut.finish, len(cut.token_ids or ())) == (FinishReason.CONTEXT_FULL, 4)
    full = _with(model, context=prompt)
    [none] = full.sample([ask("s", messages)])
    assert (none.finish, none.text, none.token_ids) == (FinishReason.CONTEXT_FULL, "", ())


def test_an_end_token_stops_and_is_not_text(model: LocalModel) -> None:
    ends = _with(model, only=(model.parts.codec.end_id,))
    [reply] = ends.sample([ask("s", build_start(model, 10))])
    assert reply.finish is FinishReason.STOP
    assert reply.token_ids == (model.parts.codec.end_id,)
    assert reply.text == ""
    assert model.spell(reply.token_ids) == [""]
    [second] = ends.sample([ask("s", [*build_start(model, 10), answer(reply), say(Role.USER, "?")])])
    assert second.recomputed_tokens == 0


def test_a_stop_tag_ends_a_reply(model: LocalModel) -> None:
    letter = model.parts.codec.encode("x")
    tagged = _with(model, only=letter, stop_tags=("xxx",))
    [reply] = tagged.sample([ask("s", build_start(model, 10), max_tokens=9)])
    assert (reply.text, reply.finish) == ("xxx", FinishReason.STOP)


def test_damaged_weights_are_a_model_failure(model: LocalModel) -> None:
    with torch.no_grad():
        model.parts.model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(ModelFailed, match="not finite"):
        model.sample([ask("s", build_start(model, 10))])


def test_two_requests_of_one_session_are_refused(model: LocalModel) -> None:
    request = ask("s", build_start(model, 10))
    with pytest.raises(ValueError, match="several requests of one session"):
        model.sample([request, request])


def test_a_view_of_a_wrong_size_is_refused(model: LocalModel) -> None:
    pixels = np.zeros((model.card.patch_px, model.card.patch_px + 1, 3), np.uint8)
    view = View(1, Picture("study", Frame("root", (model.card.patch_px + 1, model.card.patch_px)), pixels))
    with pytest.raises(ValueError, match=f"multiples of {model.card.patch_px} px"):
        model.sample([ask("s", [say(Role.USER, "?", view)])])


def _with(model: LocalModel, *, forbidden: Sequence[int] = (), only: Sequence[int] = (), **changes: Any) -> LocalModel:
    """The same weights with other rules of sampling."""
    codec = model.parts.codec
    banned = set(codec.forbidden_ids) | set(forbidden)
    if only:
        banned = set(range(codec.tokenizer.get_vocab_size())) - set(only)
    return LocalModel(replace(model.parts, codec=replace(codec, forbidden_ids=tuple(sorted(banned))), **changes))


def test_pickled_weights_are_refused(tmp_path: Path, directories: dict[str, Path]) -> None:
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((directories["qwen3_vl"] / name).read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(WrongInput, match="pickled weights"):
        load_local(f"hf:{tmp_path}", offline=True)


def test_other_architectures_are_refused(tmp_path: Path, directories: dict[str, Path]) -> None:
    (tmp_path / "model.safetensors").write_bytes((directories["qwen3_vl"] / "model.safetensors").read_bytes())
    (tmp_path / "config.json").write_text('{"model_type": "llava", "auto_map": {"AutoConfig": "evil.Evil"}}')
    with pytest.raises(WrongInput, match="'llava'; accepted are qwen2_5_vl, qwen3_vl"):
        load_local(f"hf:{tmp_path}", offline=True)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path, directories: dict[str, Path]) -> None:
    source = directories["qwen3_vl"]
    for name in ("tokenizer.json", "model.safetensors"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    text = (source / "config.json").read_text().replace('"num_hidden_layers": 3', '"num_hidden_layers": 4')
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(WrongInput, match="do not fit"):
        load_local(f"hf:{tmp_path}", offline=True)


def test_a_hub_id_offline_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WrongInput, match="without --offline"):
        load_local("hf:nobody/nothing-vl", offline=True)


def test_the_card_tells_weights_and_template(directories: dict[str, Path], tmp_path: Path) -> None:
    source = directories["qwen2_5_vl"]
    plain = load_local(f"hf:{source}", offline=True).card
    assert (plain.family, plain.coords, plain.patch_px) == ("qwen2_5_vl", "absolute_px", 14)
    assert plain.chat_template_sha256 is None
    for path in source.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "chat_template.jinja").write_text("{{ evil }}")
    templated = load_local(f"hf:{tmp_path}", offline=True).card
    assert templated.weights_sha256 == plain.weights_sha256
    assert len(templated.chat_template_sha256 or "") == 64


def test_nano_goes_through_disk_and_equals_the_library_model(tmp_path: Path) -> None:
    tokenizer = build_tiny_tokenizer()
    config = build_nano_config(tokenizer.get_vocab_size(), image_token_id=tokenizer.token_to_id(IMAGE_PAD))
    made = build_nano_model(config, seed=3)
    write_checkpoint(tmp_path, made, tokenizer, half=True)
    ours, theirs = load_nano_model(tmp_path), load_model(tmp_path)
    assert ours.config == config
    assert {value.dtype for value in ours.parameters()} == {torch.float32}
    for name, value in ours.state_dict().items():
        assert torch.equal(value, theirs.state_dict()[name]), name
    assert ours.lm_head.weight is ours.model.language_model.embed_tokens.weight


def test_the_loader_of_big_checkpoints_gives_the_same(
    directories: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = load_model(directories["qwen3_vl"]).state_dict()
    monkeypatch.setattr("ophiscope.models.local.load._SMALL_BYTES", 0)
    big = load_model(directories["qwen3_vl"])
    assert not big.training
    for name, value in big.state_dict().items():
        assert torch.equal(value, small[name]), name


def test_nano_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    tokenizer = build_tiny_tokenizer()
    config = build_nano_config(tokenizer.get_vocab_size(), image_token_id=tokenizer.token_to_id(IMAGE_PAD))
    write_checkpoint(tmp_path, build_nano_model(config, seed=3), tokenizer, half=True)
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace('"intermediate_size": 512', '"intermediate_size": 510'))
    with pytest.raises(WrongInput, match="do not fit the config"):
        load_nano_model(tmp_path)


def test_the_embedded_model_loads_without_transformers(tmp_path: Path) -> None:
    tokenizer = build_tiny_tokenizer()
    config = build_nano_config(tokenizer.get_vocab_size(), image_token_id=tokenizer.token_to_id(IMAGE_PAD))
    write_checkpoint(tmp_path / "nano", build_nano_model(config, seed=3), tokenizer, half=True)
    code = (
        "import sys; from pathlib import Path; import ophiscope.models.local.load as load\n"
        "load.NANO_DIR = Path(sys.argv[1]); print(load.load_local('nano').card.family, 'transformers' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "nano")], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["nano", "False"]


def test_parts_are_values(model: LocalModel) -> None:
    assert isinstance(model.parts, LocalParts)
    with pytest.raises(AttributeError):
        model.parts.context = 3  # type: ignore[misc]
