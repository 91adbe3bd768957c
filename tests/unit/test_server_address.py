"""Addresses of model servers: what is read, what is refused, and what counts as this machine."""

import pytest

from ophiscope.errors import WrongInput
from ophiscope.models.address import build_server_card, parse_server_name
from ophiscope.net.address import is_loopback


@pytest.mark.parametrize(
    ("name", "url", "model"),
    [
        ("openai:http://127.0.0.1:8000/v1#a/b", "http://127.0.0.1:8000/v1/chat/completions", "a/b"),
        ("openai:http://127.0.0.1:8000/v1/#a", "http://127.0.0.1:8000/v1/chat/completions", "a"),
        ("openai:http://localhost:8000#a", "http://localhost:8000/v1/chat/completions", "a"),
        ("openai:https://a.example.org/beta/openai#m:7b", "https://a.example.org/beta/openai/chat/completions", "m:7b"),
        ("openai:http://[::1]:9/v1#a", "http://[::1]:9/v1/chat/completions", "a"),
    ],
)  # fmt: skip
def test_a_name_gives_the_address_to_post_to(name: str, url: str, model: str) -> None:
    address = parse_server_name(name)
    assert address.completions_url == url
    assert address.model == model
    assert parse_server_name(address.name) == address


@pytest.mark.parametrize(
    "name",
    [
        "openai:",
        "openai:http://127.0.0.1",
        "openai:#m",
        "openai:http://127.0.0.1/v1#",
        "openai:http://127.0.0.1/v1#a b",
        "openai:http://127.0.0.1/v1#a\nb",
        "openai:ftp://127.0.0.1/v1#m",
        "openai:file:///etc/passwd#m",
        "openai:http://user:secret@127.0.0.1/v1#m",
        "openai:http://127.0.0.1/v1?key=secret#m",
        "openai:http://127.0.0.1:99999/v1#m",
        "openai:http://127.0.0.1:0/v1#m",
        "openai:http://127.0.0.1\\@evil.org/v1#m",
        "openai:http://[::1/v1#m",
        "openai:http:///v1#m",
        "openai:http://a/../v1 #m",
        "hf:something",
    ],
)
def test_other_names_are_refused_in_one_line_that_holds_no_secret(name: str) -> None:
    with pytest.raises(WrongInput) as caught:
        parse_server_name(name)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["http://localhost", "http://LOCALHOST:8000/v1", "http://127.0.0.1:1", "https://127.9.8.7/v1", "http://[::1]:8000/v1"],
)  # fmt: skip
def test_loopback(url: str) -> None:
    assert is_loopback(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org",
        "http://localhost.example.org",
        "http://localhost.",
        "http://127.0.0.1.example.org",
        "http://127.0.0.1@example.org",
        "http://example.org\\@127.0.0.1",
        "http://example.org#@127.0.0.1",
        "http://127.1",
        "http://2130706433",
        "http://0x7f.0.0.1",
        "http://0.0.0.0",
        "http://[::]",
        "http://[::ffff:127.0.0.1]",
        "http://[::1%25eth0]",
        "http://[::1",
        "http://10.0.0.1",
        "ftp://127.0.0.1",
        "127.0.0.1",
        "",
    ],
)
def test_anything_else_is_not_loopback(url: str) -> None:
    assert not is_loopback(url)


@pytest.mark.parametrize(
    ("model", "coords", "patch_px"),
    [
        ("Qwen/Qwen2.5-VL-7B-Instruct", "absolute_px", 28),
        ("qwen2_5_vl_med", "absolute_px", 28),
        ("Qwen/Qwen3-VL-8B-Instruct", "relative_1000", 32),
        ("something-else", "relative_1000", 32),
    ],
)
def test_a_card_is_guessed_from_the_name(model: str, coords: str, patch_px: int) -> None:
    card = build_server_card(parse_server_name(f"openai:http://localhost/v1#{model}"))
    assert (card.coords, card.patch_px, card.family, card.token_exact) == (coords, patch_px, "openai", False)
    assert card.name == f"openai:http://localhost/v1#{model}"


def test_the_user_overrules_the_guess() -> None:
    address = parse_server_name("openai:http://localhost/v1#Qwen2.5-VL")
    assert build_server_card(address, coords="relative_1000").coords == "relative_1000"
