"""The choice of a token, and the cache that is joined and taken apart around it."""

import math

import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # a tiny model loses more to threads than it gains

from ophiscope.models.local.cache import KVBatch, Prefix  # noqa: E402
from ophiscope.models.local.sampling import choose_token, forbid, seeded_generator  # noqa: E402

LOGITS = torch.tensor([[1.0, 3.0, 2.0, 9.0]])


def test_forbidden_tokens_have_no_probability_and_the_rest_sums_to_one() -> None:
    logprobs = forbid(LOGITS, [3])[0]
    assert logprobs[3] == float("-inf")
    assert math.isclose(float(logprobs.exp().sum()), 1.0, abs_tol=1e-6)


def test_greedy_takes_the_best_that_is_allowed_and_tells_its_probability() -> None:
    choice = choose_token(forbid(LOGITS, [3])[0], temperature=0.0, generator=seeded_generator(0))
    total = math.exp(1) + math.exp(3) + math.exp(2)
    assert choice.token_id == 1
    assert math.isclose(choice.logprob, 3 - math.log(total), abs_tol=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_distribution(temperature: float) -> None:
    logprobs = forbid(LOGITS, [3])[0]
    generator = seeded_generator(7)
    draws = [choose_token(logprobs, temperature=temperature, generator=generator).token_id for _ in range(4000)]
    weights = [math.exp(value / temperature) for value in (1.0, 3.0, 2.0)]
    for token, weight in enumerate(weights):
        assert abs(draws.count(token) / 4000 - weight / sum(weights)) < 0.03
    assert draws.count(3) == 0


def test_the_probability_told_is_that_of_temperature_one() -> None:
    logprobs = forbid(LOGITS, [])[0]
    choice = choose_token(logprobs, temperature=3.0, generator=seeded_generator(0))
    assert choice.logprob == pytest.approx(float(logprobs[choice.token_id]))


def build_prefix(length: int, value: float) -> Prefix:
    keys = torch.full((2, length, 4), value)
    return Prefix((keys,), (keys + 0.5,))


def test_sequences_of_different_lengths_grow_side_by_side() -> None:
    cache = KVBatch([build_prefix(3, 1.0), None, build_prefix(70, 2.0)], layers=1)
    for step in range(70):  # past the spare room
        cache.begin(1)
        visible = cache.visible()
        assert visible.mask_B_1_N_K is not None
        assert visible.mask_B_1_N_K[:, 0, 0].sum(1).tolist() == [4 + step, 1 + step, 71 + step]
        new = torch.full((3, 2, 1, 4), 10.0 + step)
        cache.extend(0, new, new + 0.5)
        cache.commit()
    assert cache.lengths == (73, 70, 140)
    for row, (before, value) in enumerate([(3, 1.0), (0, 0.0), (70, 2.0)]):
        keys = cache.prefix(row).keys[0][0, :, 0].tolist()
        assert keys == [value] * before + [10.0 + step for step in range(70)]
    cache.select([2, 0])
    assert cache.lengths == (140, 73)
    assert torch.equal(cache.prefix(1).values[0][0, :3, 0], torch.full((3,), 1.5))


def test_many_tokens_at_once_need_equal_lengths() -> None:
    cache = KVBatch([build_prefix(3, 1.0), build_prefix(4, 1.0)], layers=1)
    with pytest.raises(ValueError, match="2 tokens cannot be added"):
        cache.begin(2)


def test_a_prefix_is_a_copy() -> None:
    cache = KVBatch([build_prefix(3, 1.0)], layers=1)
    cache.begin(1)
    cache.extend(0, torch.zeros(1, 2, 1, 4), torch.zeros(1, 2, 1, 4))
    cache.commit()
    kept = cache.prefix(0)
    cache.begin(1)
    cache.extend(0, torch.ones(1, 2, 1, 4), torch.ones(1, 2, 1, 4))
    cache.commit()
    assert kept.length == 4
    assert cache.prefix(0).length == 5
