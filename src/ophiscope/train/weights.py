"""Which weights of a policy learn: all of the decoder, or adapters beside them; and what it was like at the start."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ophiscope.errors import WrongInput
from ophiscope.train.run_config import LoraOptions

__all__ = ["Weights"]

_ADAPTER = "lora_"


class Weights:
    """The weights of a network that learn.

    Args:
        network: Changed in place: adapters are put into its decoder, and what does not learn asks for no gradients.
        lora: Adapters; None lets the decoder itself learn.
        tower: Whether the vision tower learns too.
        keeps_start: Whether the network at the start will be asked for: without adapters a copy of it is taken.

    Raises:
        WrongInput: If adapters are asked for and no layer has the names, or peft is not installed.
    """

    def __init__(
        self, network: Any, lora: LoraOptions | None = None, *, tower: bool = False, keeps_start: bool = False
    ) -> None:
        self._network, self._lora = network, lora is not None
        network.requires_grad_(lora is None)
        if lora is not None:
            _put_adapters(network.model.language_model, lora)
        network.model.visual.requires_grad_(tower)
        self._begun = copy.deepcopy(network).requires_grad_(False) if keeps_start and lora is None else network

    @property
    def learned(self) -> list[nn.Parameter]:
        """What an optimizer is given."""
        return [parameter for parameter in self._network.parameters() if parameter.requires_grad]

    @property
    def begun(self) -> Any:
        """The network at the start, inside of :meth:`as_begun`."""
        return self._begun

    @contextmanager
    def as_begun(self) -> Iterator[None]:
        """While open, :attr:`begun` is what it was at the start: adapters rest."""
        layers = _list_adapted(self._network)
        for layer in layers:
            layer.enable_adapters(False)
        try:
            yield
        finally:
            for layer in layers:
                layer.enable_adapters(True)

    def read(self) -> dict[str, Tensor]:
        """What is kept of a run: with adapters these alone (and the tower, where it learns)."""
        state = self._network.state_dict()
        if not self._lora:
            return dict(state)
        names = {name for name, parameter in self._network.named_parameters() if parameter.requires_grad}
        return {name: value for name, value in state.items() if name in names}

    def write(self, state: Mapping[str, Tensor]) -> None:
        """Take up what :meth:`read` gave."""
        self._network.load_state_dict(state, strict=not self._lora)

    def read_adapters(self) -> dict[str, Tensor]:
        """Adapters by the names of a peft checkpoint."""
        state = self._network.state_dict()
        return {
            f"base_model.model.{name.replace('.default.', '.')}": value.detach().cpu().contiguous()
            for name, value in state.items()
            if _ADAPTER in name
        }

    def merge(self) -> None:
        """Add the adapters to the weights beneath them, and take them out."""
        for parent in list(self._network.modules()):
            for name, child in list(parent.named_children()):
                if hasattr(child, "get_base_layer"):
                    child.merge()
                    setattr(parent, name, child.get_base_layer())


def _list_adapted(network: Any) -> list[Any]:
    return [module for module in network.modules() if hasattr(module, "get_base_layer")]


def _put_adapters(decoder: Any, lora: LoraOptions) -> None:
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise WrongInput("lora needs peft: pip install 'ophiscope[local,train]'.") from None
    options = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=list(lora.targets), lora_dropout=0.0)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            inject_adapter_in_model(options, decoder)
    except ValueError:
        raise WrongInput(f"lora.targets = {list(lora.targets)}: no layer of the decoder has these names.") from None
    for name, parameter in decoder.named_parameters():
        parameter.requires_grad_(_ADAPTER in name)
