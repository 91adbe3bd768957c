"""Whatever is changed in a finished trace is found, at the right place; the classes of tampering are those of D-15."""

import json
import random
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

import independent_verifier
from ledger_cases import build_clock, build_manifest, play_episode, play_small
from ophiscope.ledger.line import LINE, ChainState, Tally, compute_closed_head, parse_payload
from ophiscope.ledger.sink import FileSink
from ophiscope.ledger.verify import Verdict, verify

Files = dict[str, bytes]
TURNS = 8
POSITIONS = 20
ALL_POSITIONS = 1000
"""Of each class, by `make soak`; `make test` tries the share above."""
EVENTS = "trace.jsonl"


def read_files(folder: Path) -> Files:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def write_files(folder: Path, files: Files) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "media").mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def record(folder: Path, *, salt: int) -> Files:
    play_episode(FileSink(folder, build_manifest(seed=salt), build_clock()), turns=TURNS, salt=salt)
    return read_files(folder)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return record(tmp_path_factory.mktemp("honest") / "t", salt=0)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return record(tmp_path_factory.mktemp("other") / "t", salt=7)


def judge(folder: Path, files: Files) -> Verdict:
    """The verdict, with which the second verifier must agree."""
    write_files(folder, files)
    verdict = verify(folder)
    wrong, complete = independent_verifier.verify(folder)
    assert bool(wrong) is not verdict.intact, (wrong, verdict)
    assert complete is verdict.complete or not verdict.intact
    assert verdict.exit_code == (0 if verdict.intact else 1)
    return verdict


def split(files: Files) -> list[bytes]:
    return files[EVENTS].splitlines(keepends=True)


def with_lines(files: Files, lines: list[bytes]) -> Files:
    return {**files, EVENTS: b"".join(lines)}


def change_byte(content: bytes, at: int, rng: random.Random) -> bytes:
    value = rng.choice([other for other in range(256) if other != content[at]])
    return content[:at] + bytes([value]) + content[at + 1 :]


def media_of(files: Files) -> list[str]:
    return sorted(name for name in files if name.startswith("media/"))


def masks_of(files: Files) -> list[str]:
    found = [json.loads(line)["payload"].get("evidence") for line in split(files)]
    return [f"media/{evidence['mask']['sha256']}.png" for evidence in found if evidence]


def rechain(lines: list[bytes], *, seal: bool) -> list[bytes]:
    """Number and link ``lines`` anew, as one who knows the format would; ``seal`` also renews the head in closed."""
    state, done = ChainState(), []
    for line in lines:
        payload, at = LINE.fullmatch(line)[4], LINE.fullmatch(line)[3].decode()
        if b'"event":"closed"' in payload and seal:
            head = compute_closed_head(state.payload_head, payload)
            payload = payload.replace(json.loads(payload)["payload_head"].encode(), head.encode())
        stored, state = state.extend(payload, at)
        done.append(stored)
    return done


Tampered = tuple[Files, set[str]]
"""The files, and the places of which the first problem must name one."""
Tamper = Callable[[Files, Files, random.Random], Tampered]


def edit(files: Files, _: Files, rng: random.Random) -> Tampered:
    lines = split(files)
    k = rng.randrange(len(lines))
    lines[k] = change_byte(lines[k], rng.randrange(len(lines[k]) - 1), rng)
    return with_lines(files, lines), {f"event {k}"}


def edit_meaning(files: Files, _: Files, rng: random.Random) -> Tampered:
    """A change that leaves a valid event of the schema."""
    lines = split(files)
    k = rng.choice([index for index, line in enumerate(lines) if b'"turn":' in line])
    lines[k] = lines[k].replace(b'"turn":', b'"turn":1', 1)
    return with_lines(files, lines), {f"event {k}"}


def delete(files: Files, _: Files, rng: random.Random) -> Tampered:
    lines = split(files)
    k = rng.randrange(len(lines) - 1)
    del lines[k]
    return with_lines(files, lines), {f"event {k}"}


def insert_copy(files: Files, _: Files, rng: random.Random) -> Tampered:
    lines = split(files)
    k, j = sorted(rng.sample(range(len(lines)), 2), reverse=True)
    lines.insert(k, lines[j])
    return with_lines(files, lines), {f"event {k}", f"event {j}"} if k == j + 1 else {f"event {k}"}


def insert_fitting(files: Files, _: Files, rng: random.Random) -> Tampered:
    """A new line that has the right number and link."""
    lines = split(files)
    k = rng.randrange(1, len(lines) + 1)
    payload, at = LINE.fullmatch(lines[4])[4], "2026-03-01T12:00:00.000000Z"
    state = ChainState(k, sha256(lines[k - 1]).hexdigest())
    lines.insert(k, state.extend(payload, at).line)
    return with_lines(files, lines), {f"event {k}"}


def reorder(files: Files, _: Files, rng: random.Random) -> Tampered:
    lines = split(files)
    i, j = sorted(rng.sample(range(len(lines)), 2))
    lines[i], lines[j] = lines[j], lines[i]
    return with_lines(files, lines), {f"event {i}"}


def splice_line(files: Files, other: Files, rng: random.Random) -> Tampered:
    lines, theirs = split(files), split(other)
    k = rng.randrange(len(lines) - 1)
    lines[k] = theirs[k]
    return with_lines(files, lines), {f"event {k}"}


def splice_tail(files: Files, other: Files, rng: random.Random) -> Tampered:
    """From line k on all is of another run, media included; only the link between k - 1 and k is wrong."""
    lines, theirs = split(files), split(other)
    k = rng.randrange(1, len(lines))
    mixed = with_lines({**other, "manifest.json": files["manifest.json"]}, lines[:k] + theirs[k:])
    return mixed, {f"event {k - 1}", f"event {k}"}


def swap_media(files: Files, _: Files, rng: random.Random) -> Tampered:
    first, second = rng.sample(media_of(files), 2)
    return {**files, first: files[second], second: files[first]}, {first, second}


def swap_mask(files: Files, _: Files, rng: random.Random) -> Tampered:
    first, second = rng.sample(masks_of(files), 2)
    return {**files, first: files[second]}, {first}


def point_to_other_mask(files: Files, _: Files, rng: random.Random) -> Tampered:
    first, second = rng.sample([name[6:70].encode() for name in masks_of(files)], 2)
    lines = split(files)
    k = next(index for index, line in enumerate(lines) if first in line and b'"mask"' in line)
    lines[k] = lines[k].replace(first, second)
    return with_lines(files, lines), {f"event {k}"}


def alter_manifest(files: Files, _: Files, rng: random.Random) -> Tampered:
    content = files["manifest.json"]
    return {**files, "manifest.json": change_byte(content, rng.randrange(len(content)), rng)}, {"manifest.json"}


def swap_manifest(files: Files, other: Files, _: random.Random) -> Tampered:
    return {**files, "manifest.json": other["manifest.json"]}, {"manifest.json"}


def change_schema_version(files: Files, _: Files, rng: random.Random) -> Tampered:
    version = b'"schema_version": %d' % rng.choice([0, 2, 3, 10])
    content = files["manifest.json"].replace(b'"schema_version": 1', version)
    return {**files, "manifest.json": content}, {"manifest.json"}


def rewrite_and_rechain(files: Files, _: Files, rng: random.Random) -> Tampered:
    """An event removed and all links made anew, but not the seal."""
    lines = split(files)
    del lines[rng.randrange(1, len(lines) - 1)]
    return with_lines(files, rechain(lines, seal=False)), {f"event {index}" for index in range(len(lines) + 1)}


TAMPERINGS: list[Tamper] = [
    edit,
    edit_meaning,
    delete,
    insert_copy,
    insert_fitting,
    reorder,
    splice_line,
    splice_tail,
    swap_media,
    swap_mask,
    point_to_other_mask,
    alter_manifest,
    swap_manifest,
    change_schema_version,
    rewrite_and_rechain,
]


each_class = pytest.mark.parametrize("tamper", TAMPERINGS, ids=lambda tamper: tamper.__name__)


def assert_found(tamper: Tamper, honest: Files, other: Files, folder: Path, *, positions: int) -> None:
    rng = random.Random(tamper.__name__)
    for _ in range(positions):
        files, places = tamper(honest, other, rng)
        assert files != honest
        verdict = judge(folder, files)
        assert not verdict.intact
        assert verdict.problems[0].where in places, verdict.problems


@each_class
def test_tampering_is_found_at_its_place(tamper: Tamper, honest: Files, other: Files, tmp_path: Path) -> None:
    assert_found(tamper, honest, other, tmp_path / "t", positions=POSITIONS)


@pytest.mark.soak
@pytest.mark.timeout(600)
@each_class
def test_a_thousand_positions_of_each_class(tamper: Tamper, honest: Files, other: Files, tmp_path: Path) -> None:
    assert_found(tamper, honest, other, tmp_path / "t", positions=ALL_POSITIONS)


def test_a_cut_tail_is_intact_but_not_complete(honest: Files, tmp_path: Path) -> None:
    assert_cuts_are_told(honest, tmp_path / "t", positions=POSITIONS)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_thousand_cut_tails(honest: Files, tmp_path: Path) -> None:
    assert_cuts_are_told(honest, tmp_path / "t", positions=ALL_POSITIONS)


def assert_cuts_are_told(honest: Files, folder: Path, *, positions: int) -> None:
    rng = random.Random(5)
    content = honest[EVENTS]
    ends = [index + 1 for index, byte in enumerate(content[:-1]) if byte == 10]
    between = rng.sample(ends, min(positions, len(ends)))
    for cut in [*between, *rng.sample(range(len(content)), positions), 0, len(content) - 1]:
        verdict = judge(folder, {**honest, EVENTS: content[:cut]})
        assert verdict.intact, verdict.problems
        assert not verdict.complete
        assert verdict.torn_tail is (cut not in (0, *ends))
        assert verdict.events == content[:cut].count(b"\n")


def test_a_full_rewrite_shows_only_in_the_heads(honest: Files, tmp_path: Path) -> None:
    """Nothing in the folder can tell it; an anchored head does. The documentation says so."""
    before = judge(tmp_path / "t", honest)
    lines = [line.replace(b"found", b"bound") for line in split(honest)]
    after = judge(tmp_path / "t", with_lines(honest, rechain(lines, seal=True)))
    assert after.intact
    assert after.complete
    assert (after.payload_head, after.chain_head) != (before.payload_head, before.chain_head)


@pytest.mark.timeout(300)
def test_every_single_byte_counts(tmp_path: Path) -> None:
    """Exhaustive: each byte of each file of a complete trace, changed to a random other value."""
    folder, rng = tmp_path / "t", random.Random(11)
    play_small(FileSink(folder, build_manifest(), build_clock()))
    assert verify(folder).intact
    missed = []
    for name, content in read_files(folder).items():
        path = folder / name
        for at in range(len(content)):
            path.write_bytes(change_byte(content, at, rng))
            # The second verifier takes its turn at every third byte, for the sake of time.
            if verify(folder).intact or (at % 3 == 0 and not independent_verifier.verify(folder)[0]):
                missed.append((name, at, path.read_bytes()[at]))
        path.write_bytes(content)
    assert verify(folder).intact
    assert missed == []


@pytest.mark.parametrize("value", [b" ", b"\r", b"}", b"x", b"\n\n", b"\x00"])
def test_every_newline_counts(value: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "t"
    play_small(FileSink(folder, build_manifest(), build_clock()))
    content = (folder / EVENTS).read_bytes()
    for at in [index for index, byte in enumerate(content) if byte == 10]:
        (folder / EVENTS).write_bytes(content[:at] + value + content[at + 1 :])
        assert not verify(folder).intact, (at, value)
        assert independent_verifier.verify(folder)[0]


def test_bytes_added_or_removed(honest: Files, tmp_path: Path) -> None:
    rng = random.Random(13)
    for _ in range(30):
        name = rng.choice(list(honest))
        content = honest[name]
        at = rng.randrange(len(content))
        # A run of equal bytes is the same wherever in it one is removed; the last byte of the events is a cut tail.
        shorter, longer = content[:at] + content[at + 1 :], content[:at] + b"7" + content[at:]
        if (name, at) != (EVENTS, len(content) - 1):
            assert not judge(tmp_path / "t", {**honest, name: shorter}).intact
        assert not judge(tmp_path / "t", {**honest, name: longer}).intact


def test_files_removed(honest: Files, tmp_path: Path) -> None:
    for name in honest:
        write_files(tmp_path / "t", {kept: content for kept, content in honest.items() if kept != name})
        verdict = verify(tmp_path / "t")
        assert not verdict.intact
        assert verdict.problems[0].where == name
        assert "missing" in verdict.problems[0].what


def test_files_added_or_renamed(honest: Files, tmp_path: Path) -> None:
    content = b"stray"
    digest = sha256(content).hexdigest()
    for name in (
        "note.txt",
        ".hidden",
        f"media/{digest}.png",
        "media/.partial-x",
        "media/.DS_Store",
        f"media/{digest}",
    ):
        verdict = judge(tmp_path / "t", {**honest, name: content})
        assert verdict.problems[0].where == name
    first = media_of(honest)[0]
    moved = {name: content for name, content in honest.items() if name != first} | {first[:-3] + "gif": honest[first]}
    verdict = judge(tmp_path / "t", moved)
    assert {problem.where for problem in verdict.problems} == {first, first[:-3] + "gif"}


def test_a_copy_verifies(honest: Files, tmp_path: Path) -> None:
    write_files(tmp_path / "a", honest)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert verify(tmp_path / "a") == verify(tmp_path / "b")
    assert verify(tmp_path / "b").complete


def test_counts_of_closed_are_checked(honest: Files, tmp_path: Path) -> None:
    """Even where the whole trace was made anew around a wrong count."""
    lines = split(honest)
    for member in ("events", "turns", "attempted_calls", "valid_calls"):
        closed = parse_payload(LINE.fullmatch(lines[-1])[4])
        count = getattr(closed, member)
        wrong = lines[-1].replace(f'"{member}":{count}'.encode(), f'"{member}":{count + 1}'.encode())
        write_files(tmp_path / "t", with_lines(honest, rechain([*lines[:-1], wrong], seal=True)))
        problems = verify(tmp_path / "t").problems
        assert [problem.where for problem in problems] == [f"event {len(lines) - 1}"], member
        assert "counts" in problems[0].what
    assert Tally() == Tally(0, 0, 0)
