"""BiomedParse's service without its weights: the presence test, and the wiring around stand-ins for its modules."""

import hashlib
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from ophiscope.errors import ToolCode, ToolError
from ophiscope.tools.segmenters.remote import Remote
from ophiscope.tools.segmenters.remote_address import parse_segmenter_name
from segmenter_runs import ROOT, running, wait_for_end

pytest.importorskip("scipy")
FOLDER = ROOT / "services" / "biomedparse"
POLYP = [[160.0, 3.5], [7.0, 1.9], [7.0, 6.8], [5.2, 9.0]]
FLAT = [[1.0, 1.0]] * 4
KNOWN = {
    "Endoscopy": {"polyp": POLYP},
    "CT-Abdomen": {"liver": FLAT},
    "MRI-Abdomen": {"liver": POLYP, "spleen": FLAT},
}
PICTURE = np.full((10, 20, 3), (200, 120, 90), np.uint8)
PROBABILITY = np.zeros((10, 20), np.float32)
PROBABILITY[2:8, 5:15] = 0.98


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"biomedparse_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


presence = load("presence")


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield load("app")
    sys.modules.pop("presence", None)


def test_one_number_on_a_flat_distribution() -> None:
    """F(x) = x there: each p-value is 2 min(x, 1 - x), from x = mean / 256."""
    p = 1.0
    for value in (0.98 * 255 / 256, 200 / 256, 120 / 256, 90 / 256):
        p *= 2 * min(value, 1 - value)
    assert presence.compute_p_value(PICTURE, PROBABILITY, FLAT) == pytest.approx(p**0.24, rel=1e-6)


def test_literal_numbers() -> None:
    assert presence.compute_p_value(PICTURE, PROBABILITY, FLAT) == pytest.approx(0.357391595, rel=1e-6)
    assert presence.compute_p_value(PICTURE, PROBABILITY, POLYP) == pytest.approx(0.820854217, rel=1e-6)
    assert presence.compute_presence(PICTURE, PROBABILITY, [POLYP]) == pytest.approx(0.942585109, rel=1e-6)
    dark = np.full_like(PICTURE, 5)
    assert presence.compute_presence(dark, PROBABILITY, [POLYP]) < 0.01


def test_the_p_value_is_that_of_the_test_that_the_authors_name() -> None:
    from scipy import stats

    generator = np.random.default_rng(0)
    for _ in range(20):
        picture = generator.integers(0, 256, (6, 7, 3), dtype=np.uint8)
        probability = generator.random((6, 7))
        parameters = generator.uniform(0.5, 30, (4, 2)).tolist()
        grey = probability * 255
        inside = grey >= 128
        seen = [grey[inside].mean() / 256, *(picture[:, :, c][inside].mean() / 256 for c in range(3))]
        p = np.prod(
            [stats.ks_1samp([x], stats.beta(a, b).cdf).pvalue for x, (a, b) in zip(seen, parameters, strict=True)]
        )
        assert presence.compute_p_value(picture, probability, parameters) == pytest.approx(p**0.24, rel=1e-6, abs=1e-12)


def test_nothing_outlined_is_absent_and_an_unknown_target_is_not_told() -> None:
    assert presence.compute_presence(PICTURE, PROBABILITY * 0.5, [POLYP]) == 0.0
    assert presence.compute_presence(PICTURE, PROBABILITY * 0.5, []) == 0.0
    assert presence.compute_presence(PICTURE, PROBABILITY, []) is None


@pytest.mark.parametrize(
    ("target", "modality", "found"),
    [
        ("polyp", None, [POLYP]),
        ("Polyp in colon endoscopy", "ES", [POLYP]),
        ("polyp", "CT", []),
        ("liver", None, [FLAT, POLYP]),
        ("liver", "MR", [POLYP]),
        ("liver", "CT", [FLAT]),
        ("liver", "XX", [FLAT, POLYP]),
        ("unicorn", None, []),
    ],
)
def test_which_distributions_a_target_may_have(target: str, modality: str | None, found: list[object]) -> None:
    assert presence.find_distributions(KNOWN, target, modality) == found


def test_of_several_distributions_the_best_counts() -> None:
    both = presence.compute_presence(PICTURE, PROBABILITY, [FLAT, POLYP])
    assert both == max(presence.compute_presence(PICTURE, PROBABILITY, [one]) for one in (FLAT, POLYP))


def test_the_backend_asks_the_model_once_for_a_batch(app: ModuleType) -> None:
    asked = []

    def infer(picture: object, texts: list[str]) -> np.ndarray:
        asked.append((picture.size, texts))  # type: ignore[attr-defined]
        return np.stack([PROBABILITY, PROBABILITY * 0.1])

    backend = app.BiomedParse(infer, KNOWN, "ab" * 32)
    first, second = backend.segment(PICTURE, [app.Prompt(None, "polyp", "ES"), app.Prompt(None, "mass", None)])
    assert asked == [((20, 10), ["polyp", "mass"])]
    assert first.score == pytest.approx(0.98)
    assert first.presence == presence.compute_presence(PICTURE, PROBABILITY, [POLYP])
    assert (second.score, second.presence) == (0.0, 0.0)


def test_probabilities_of_another_size_are_brought_to_the_picture(app: ModuleType) -> None:
    large = np.repeat(np.repeat(PROBABILITY, 4, 0), 4, 1)
    small = app.fit(large, (20, 10))
    assert small.shape == (10, 20)
    assert np.array_equal(small >= 0.5, PROBABILITY >= 0.5)
    assert app.fit(PROBABILITY, (20, 10)) is PROBABILITY


UPSTREAM = {
    "modeling/__init__.py": "def build_model(options): return options['model']",
    "modeling/BaseModel.py": """
class BaseModel:
    def __init__(self, options, model):
        self.model, self.sem_seg_head, self.predictor, self.lang_encoder = self, self, self, self
    def from_pretrained(self, path):
        assert open(path, 'rb').read() == b'weights'
        return self
    def eval(self): return self
    def to(self, device):
        assert device == 'cpu'
        return self
    def get_text_embeddings(self, names, is_eval): self.names = names
""",
    "torch.py": "from contextlib import nullcontext as no_grad",
    "HELPERS/__init__.py": "",
    "HELPERS/arguments.py": "def load_opt_from_config_files(files): return {'model': open(files[0]).read()}",
    "HELPERS/distributed.py": "def init_distributed(options): return options",
    "HELPERS/constants.py": "BIOMED_CLASSES = ['polyp']",
    "inference_utils/__init__.py": "",
    "inference_utils/inference.py": """
import numpy as np
def interactive_infer_image(model, image, prompts):
    assert model.names == ['polyp', 'background']
    bright = np.asarray(image)[:, :, 0] / 255.0
    return RETURNED
""",
    "configs/biomedparse_inference.yaml": "a model",
}


@pytest.mark.parametrize(
    ("helpers", "returned"),
    [("utilities", "np.stack([bright for _ in prompts])"), ("utils", "np.stack([bright for _ in prompts]), prompts")],
)
def test_the_service_runs_around_stand_ins_for_the_models_modules(helpers: str, returned: str, tmp_path: Path) -> None:
    for name, text in UPSTREAM.items():
        path = tmp_path / "repository" / name.replace("HELPERS", helpers)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("RETURNED", returned))
    (tmp_path / "weights.pt").write_bytes(b"weights")
    (tmp_path / "target_dist.json").write_text(json.dumps(KNOWN))
    sha256 = hashlib.sha256(b"weights").hexdigest()
    needed = (
        "--repository", str(tmp_path / "repository"), "--weights", str(tmp_path / "weights.pt"),
        "--target-dist", str(tmp_path / "target_dist.json"), "--device", "cpu",
    )  # fmt: skip
    with running(FOLDER / "app.py", *needed, "--sha256", sha256) as service:
        remote = Remote(parse_segmenter_name(service.name))
        assert (remote.targets, remote.weights_sha256) == (None, sha256)
        picture = np.full((10, 20, 3), 40, np.uint8)
        picture[2:8, 5:15] = (250, 150, 90)
        said = remote.predict(picture, box_xyxy=None, target="polyp in colon endoscopy")
        assert np.array_equal(said.probability_H_W >= 0.5, picture[:, :, 0] > 128)
        assert said.presence == pytest.approx(presence.compute_presence(picture, picture[:, :, 0] / 255.0, [POLYP]))
        with pytest.raises(ToolError, match="takes no boxes") as caught:
            remote.predict(picture, box_xyxy=(0.0, 0.0, 9.0, 9.0), target=None)
        assert caught.value.code is ToolCode.NOT_APPLICABLE
    with running(FOLDER / "app.py", *needed, "--sha256", "0" * 64, ready=False) as service:
        assert wait_for_end(service.process) == 1
