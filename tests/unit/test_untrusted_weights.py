"""Checkpoints that are made to run code, to fill the memory or to lead elsewhere: refused in one line, nothing runs."""

import ast
import json
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch

import ophiscope
from ophiscope.checkpoint import compute_weights_sha256, list_weight_files
from ophiscope.errors import OphiscopeError, WrongInput
from ophiscope.models.local.load import load_local
from ophiscope.models.local.tiny import write_tiny_checkpoint
from ophiscope.tools.segmenters.sam2 import load_sam2
from sam2_checkpoints import build_small_config, write_random_sam2

PICKLED = ("pytorch_model.bin", "model.pt", "model.pth", "model.ckpt", "model.pkl")


class Bomb:
    """Touches a file where it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.canary),)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """Where code that ran would have left something."""
    return tmp_path / "canary"


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("qwen"), "qwen3_vl")


@pytest.fixture(scope="module")
def sam(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sam")
    write_random_sam2(folder, build_small_config())
    return folder


def load_both(qwen: Path, sam: Path, damage: Callable[[Path], object], tmp_path: Path) -> list[str]:
    """What the two loaders of named checkpoints say of copies that were damaged."""
    said = []
    for source, load in ((qwen, lambda path: load_local(f"hf:{path}")), (sam, lambda path: load_sam2(f"sam2:{path}"))):
        copy = tmp_path / f"copy{len(said)}"
        shutil.copytree(source, copy)
        damage(copy)
        with pytest.raises(OphiscopeError) as caught:
            load(copy)
        assert "\n" not in str(caught.value)
        said.append(str(caught.value))
    return said


def replace_weights(name: str, content: bytes) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        for path in folder.glob("*.safetensors"):
            path.unlink()
        (folder / name).write_bytes(content)

    return damage


def zip_pickle(content: bytes) -> bytes:
    """As torch.save packs it."""
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"bomb-{os.getpid()}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3")
    data = path.read_bytes()
    path.unlink()
    return data


@pytest.mark.parametrize("name", PICKLED)
@pytest.mark.parametrize("packed", [False, True])
def test_pickled_weights_are_refused(
    name: str, packed: bool, qwen: Path, sam: Path, tmp_path: Path, canary: Path
) -> None:
    content = pickle.dumps(Bomb(canary))
    damage = replace_weights(name, zip_pickle(content) if packed else content)
    for said in load_both(qwen, sam, damage, tmp_path):
        assert "which can run code" in said
    assert not canary.exists()


@pytest.mark.parametrize("name", ["model.safetensors", "model-00001-of-00001.safetensors"])
def test_a_pickle_that_calls_itself_safetensors_is_refused(
    name: str, qwen: Path, sam: Path, tmp_path: Path, canary: Path
) -> None:
    load_both(qwen, sam, replace_weights(name, pickle.dumps(Bomb(canary))), tmp_path)
    assert not canary.exists()


@pytest.mark.parametrize(
    "name", ["weights.npz", "weights.npy", "model.joblib", "model.nemo", "model.h5", "model.msgpack"]
)
def test_other_files_are_not_looked_at(name: str, qwen: Path, sam: Path, tmp_path: Path, canary: Path) -> None:
    for said in load_both(qwen, sam, replace_weights(name, pickle.dumps(Bomb(canary))), tmp_path):
        assert "No *.safetensors" in said
    assert not canary.exists()


def write_header(header: dict[str, Any] | bytes, body: bytes = b"", *, declared: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if declared is None else declared) + raw + body


TENSOR = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
BOMBS: dict[str, bytes] = {
    "empty": b"",
    "four bytes": b"abcd",
    "header of 2^60": write_header({}, declared=2**60),
    "header of 2^64 - 1": write_header({}, declared=2**64 - 1),
    "header of 100 MB": write_header(b"{" + b" " * 100_000_000 + b"}"),
    "header longer than the file": write_header({"a": TENSOR}, declared=500),
    "no header": write_header(b"", bytes(100)),
    "no JSON": write_header(b"\xff" * 64),
    "a list": write_header(b"[1, 2]"),
    "nested": write_header(b"[" * 100_000 + b"]" * 100_000),
    "offsets out of the file": write_header({"a": TENSOR | {"data_offsets": [0, 2**50]}}, bytes(8)),
    "offsets reversed": write_header({"a": TENSOR | {"data_offsets": [8, 0]}}, bytes(8)),
    "offsets that overlap": write_header({"a": TENSOR, "b": TENSOR}, bytes(8)),
    "shape of 2^62": write_header({"a": TENSOR | {"shape": [2**62]}}, bytes(8)),
    "shape that overflows": write_header({"a": TENSOR | {"shape": [2**40, 2**40]}}, bytes(8)),
    "negative shape": write_header({"a": TENSOR | {"shape": [-2]}}, bytes(8)),
    "unknown type": write_header({"a": TENSOR | {"dtype": "PICKLE"}}, bytes(8)),
    "the same name twice": write_header(b'{"a":1,"a":' + json.dumps(TENSOR).encode() + b"}", bytes(8)),
    "other tensors": write_header({"a": TENSOR}, bytes(8)),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_header_that_lies_is_refused(name: str, qwen: Path, sam: Path, tmp_path: Path) -> None:
    load_both(qwen, sam, replace_weights("model.safetensors", BOMBS[name]), tmp_path)


def test_a_header_bomb_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 1 << 36))
        file.truncate(1 << 37)  # sparse: reading or hashing it would take minutes
    for look in (list_weight_files, compute_weights_sha256):
        with pytest.raises(WrongInput, match="made to hurt"):
            look(tmp_path)


def test_code_of_a_checkpoint_is_never_imported(qwen: Path, sam: Path, tmp_path: Path, canary: Path) -> None:
    evil = f"import os\nos.mkdir({str(canary)!r})\nclass Evil: pass\n"
    for number, (source, load) in enumerate(((qwen, load_local), (sam, load_sam2))):
        copy = tmp_path / f"copy{number}"
        shutil.copytree(source, copy)
        config = json.loads((copy / "config.json").read_text())
        names = ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoProcessor", "AutoTokenizer")
        config["auto_map"] = dict.fromkeys(names, "evil.Evil")
        config["custom_pipelines"] = {"x": {"impl": "evil.Evil"}}
        (copy / "config.json").write_text(json.dumps(config))
        for name in ("evil.py", "__init__.py", "sitecustomize.py", "modeling_qwen3_vl.py"):
            (copy / name).write_text(evil)
        (copy / "generation_config.json").write_text('{"custom_generate": "evil"}')
        (copy / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["evil.Evil", null]}}')
        load(f"{'hf' if load is load_local else 'sam2'}:{copy}")
        assert not canary.exists()


def test_an_index_that_names_pickles_or_files_elsewhere_leads_nowhere(
    qwen: Path, sam: Path, tmp_path: Path, canary: Path
) -> None:
    outside = tmp_path / "outside.bin"
    outside.write_bytes(pickle.dumps(Bomb(canary)))

    def damage(folder: Path) -> None:
        for path in folder.glob("*.safetensors"):
            path.unlink()
        (folder / "a.safetensors").write_bytes(write_header({"a": TENSOR}, bytes(8)))
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(canary)))
        for name in ("model.safetensors.index.json", "pytorch_model.bin.index.json"):
            index = {"metadata": {}, "weight_map": {"a": "pytorch_model.bin", "b": str(outside), "c": "../outside.bin"}}
            (folder / name).write_text(json.dumps(index))

    for said in load_both(qwen, sam, damage, tmp_path):
        assert "none of the *.safetensors beside it" in said
    assert not canary.exists()


def _make_sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 30)


ENDLESS: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a folder": os.mkdir,
}


@pytest.mark.parametrize("kind", ENDLESS)
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "preprocessor_config.json", "model.safetensors"])
def test_what_has_no_end_is_not_begun(name: str, kind: str, qwen: Path, sam: Path, tmp_path: Path) -> None:
    def damage(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        ENDLESS[kind](folder / name)

    for said in load_both(qwen, sam, damage, tmp_path):
        assert "no regular file" in said or (kind == "a link to nothing" and "cannot be read" in said)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors.index.json"])
def test_texts_of_gigabytes_are_not_read(name: str, qwen: Path, sam: Path, tmp_path: Path) -> None:
    for said in load_both(qwen, sam, lambda folder: _make_sparse(folder / name), tmp_path):
        assert "has 1073741824 bytes" in said


def test_links_to_files_are_followed(qwen: Path, tmp_path: Path) -> None:
    """The cache of a hub is made of them."""
    for path in qwen.iterdir():
        (tmp_path / path.name).symlink_to(path)
    assert load_local(f"hf:{tmp_path}").card.family == "qwen3_vl"


@pytest.mark.parametrize("content", [b"\x80\x04pickle", b"{", b"[]", b'{"image_mean": "x"}', b'{"image_mean": [1, 2]}'])
def test_a_preprocessor_that_is_none_is_refused(content: bytes, sam: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(sam, copy)
    (copy / "preprocessor_config.json").write_bytes(content)
    with pytest.raises(WrongInput):
        load_sam2(f"sam2:{copy}")


def test_our_own_states_are_read_without_code(tmp_path: Path, canary: Path) -> None:
    path = tmp_path / "state.pt"
    torch.save({"model": Bomb(canary)}, path)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    assert not canary.exists()


def _list_calls() -> list[tuple[str, str, ast.Call]]:
    found = []
    for path in sorted(Path(ophiscope.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                found.append((path.name, ast.unparse(node.func), node))
    return found


def test_nothing_in_the_package_runs_what_it_reads() -> None:
    calls = _list_calls()
    assert len(calls) > 3000  # the package is there
    names = {name for _, name, _ in calls}
    forbidden = {
        "eval",
        "exec",
        "compile",
        "__import__",
        "pickle.load",
        "pickle.loads",
        "yaml.load",
        "os.system",
        "joblib.load",
    }
    assert not names & forbidden
    for where, name, call in calls:
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        if name == "torch.load":
            assert given.get("weights_only") == "True", where
        if name in ("np.load", "numpy.load"):
            assert given.get("allow_pickle", "False") == "False", where
        assert given.get("shell") != "True", where
        assert "trust_remote_code" not in given, where
