"""What a run does, as a recipe's TOML file says it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ophiscope.train.presets import PRESETS

__all__ = ["LoraOptions", "RlConfig", "RunConfig", "SftConfig"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RlConfig(_Part):
    """How a policy learns from rewards."""

    advantage: str = "ga_grpo"
    """A preset of reward and advantage (docs/rewards.md)."""
    group: int = Field(default=8, ge=2)
    questions: int = Field(default=4, ge=1)
    passes: int = Field(default=1, ge=1)
    micro: int = Field(default=8, ge=1)
    lr: float = Field(default=1e-5, gt=0)
    temperature: float = Field(default=1.0, gt=0)
    clip_low: float = Field(default=0.2, gt=0, lt=1)
    clip_high: float = Field(default=0.2, gt=0)
    beta: float = Field(default=0.0, ge=0)
    server: str = ""
    """``openai:BASE_URL#NAME`` of a vLLM server that samples in the place of this process (docs/train.md)."""

    @field_validator("advantage")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in PRESETS:
            raise ValueError(f"accepted are {', '.join(PRESETS)}")
        return name


class SftConfig(_Part):
    """How a model learns from conversations."""

    lr: float = Field(default=2e-5, gt=0)
    batch: int = Field(default=16, ge=1)
    micro: int = Field(default=8, ge=1)
    """Conversations of one forward."""
    pool: int = Field(default=8, ge=1)
    """Batches that are drawn together and sorted by length, so that little is padded."""
    warmup: int = Field(default=10, ge=0)
    """Steps over which the learning rate rises; after these it falls on a cosine to a tenth."""


class LoraOptions(_Part):
    """Low-rank adapters (Hu et al. 2021, arXiv 2106.09685) in the place of all weights."""

    rank: int = Field(default=64, ge=1)
    alpha: int = Field(default=128, ge=1)
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    """Linear layers of the decoder."""


class RunConfig(_Part):
    """What a run does; a recipe adds what it draws, and names its stages."""

    start: str
    """The checkpoint to begin from, as ``ask --model`` takes it."""
    stage: str = "reinforce"
    """One of the recipe's."""
    sets: tuple[str, ...] = ()
    """Folders of sets (``ophiscope data build``) whose episodes a supervised stage learns from, instead of what the
    recipe draws."""
    steps: int = Field(default=200, ge=1)
    save_every: int = Field(default=5, ge=1)
    seed: int = Field(default=0, ge=0)
    device: Literal["cpu", "cuda"] = "cpu"
    train_tower: bool = False
    """Whether the vision tower learns too."""
    lora: LoraOptions | None = None
    """``lora=false`` on the command line lets all of the decoder learn."""
    sft: SftConfig = SftConfig()
    rl: RlConfig = RlConfig()

    @field_validator("lora", mode="before")
    @classmethod
    def _read_no(cls, given: object) -> object:
        return None if given is False else given
