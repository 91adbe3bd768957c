"""The processes of one run, where ``accelerate launch`` (or torchrun) started several: who is who, and sums over all.

Every process holds all weights, plays or reads its own share of a step, and adds its gradients to those of the others;
so all take the same update, and a step is the same step however many of them there are. Only the first one keeps
anything.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from ophiscope.errors import WrongInput

__all__ = ["ALONE", "Ranks", "find_ranks"]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those of its run."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    """Among those of this machine: which GPU is its own."""

    @property
    def keeps(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def share(self, items: Sequence[_T]) -> Sequence[_T]:
        """What of them is this process's."""
        return items[self.rank :: self.count]

    def gather(self, items: Sequence[_T]) -> list[_T]:
        """Those of all processes, in the order in which :meth:`share` dealt them out."""
        if self.count == 1:
            return list(items)
        from accelerate.utils import gather_object

        numbered = gather_object([(place, self.rank, item) for place, item in enumerate(items)])
        return [item for _, _, item in sorted(numbered, key=lambda one: one[:2])]

    def tell(self, said: _T) -> _T:
        """What the first process says, in all of them; what the others give is not heard."""
        if self.count == 1:
            return said
        from accelerate.utils import broadcast_object_list

        held: list[Any] = [said]
        broadcast_object_list(held)
        told: _T = held[0]
        return told

    def add_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Put the sum over all processes in the place of each gradient; none counts as zero."""
        if self.count == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            torch.distributed.all_reduce(parameter.grad)


ALONE = Ranks()


def find_ranks(device: str) -> Ranks:
    """Whom this process runs with.

    Args:
        device: Of the run; gloo joins processes on CPUs, nccl those on GPUs.

    Raises:
        WrongInput: If several processes were started and accelerate is not installed.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return ALONE
    try:
        from accelerate import PartialState
    except ImportError:
        raise WrongInput("Several processes need accelerate: pip install 'ophiscope[local,train]'.") from None
    state = PartialState(cpu=device == "cpu")
    return Ranks(state.process_index, state.num_processes, state.local_process_index)
