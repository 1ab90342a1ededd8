"""What one of several processes that train a model together has to know of the others, and say to them.

Each takes its share of every batch. Gradients are averaged over all processes before a step of an optimiser, so all
make the same steps and hold the same weights. The first process alone writes files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed

from supercosm.errors import LostError, SupercosmError


@dataclass(frozen=True)
class Share:
    """One process among all: its number, how many there are, and in how many parts it works on its share."""

    rank: int = 0
    world: int = 1
    parts: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes and speaks."""
        return self.rank == 0

    @property
    def whole(self) -> bool:
        """Whether every batch is worked on here, at once."""
        return self.world == self.parts == 1

    def says(self, sentence: str) -> str:
        """Return a sentence that all processes have to say, for the first; nothing for the others."""
        return sentence if self.first else ""

    def average(self, parameters: Iterable[Tensor]) -> None:
        """Give every gradient its mean over all processes, which have the same ones."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if self.world == 1 or not gradients:
            return
        together = self.sum(torch.cat([gradient.flatten() for gradient in gradients])) / self.world
        for gradient, mean in zip(gradients, together.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view(gradient.shape))

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes, in place, with the same bits for each."""
        if self.world > 1:
            self._with_others(lambda: distributed.all_reduce(values))
        return values

    def highest(self, number: int) -> int:
        """Return the largest of the numbers that the processes have."""
        if self.world == 1:
            return number
        value = torch.tensor([number])
        self._with_others(lambda: distributed.all_reduce(value, distributed.ReduceOp.MAX))
        return int(value)

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.highest(0)

    def lead(self, action: Callable[[], Any]) -> Any:
        """Have the first process do something while the others wait; return its outcome, of JSON values, to all.

        Where it fails, it fails in the first process, and the others raise a SupercosmError without words.
        """
        if self.world == 1:
            return action()
        content, error = b"", None
        if self.first:
            try:
                content = json.dumps(action()).encode()
            except BaseException as raised:  # also an interrupt: the others must not wait for ever
                error = raised
        length = int(self._from_first(torch.tensor([len(content) if error is None else -1])))
        if error is not None:
            raise error
        if length < 0:
            raise SupercosmError("")
        text = torch.tensor(list(content or bytes(length)), dtype=torch.uint8)
        return json.loads(bytes(self._from_first(text).tolist()))

    def align(self, module: torch.nn.Module) -> None:
        """Give all processes the weights of the first, whose processor may round otherwise than theirs."""
        if self.world > 1:
            for tensor in module.state_dict().values():
                same = tensor.detach().cpu().contiguous()
                tensor.copy_(self._from_first(same))

    def _from_first(self, values: Tensor) -> Tensor:
        self._with_others(lambda: distributed.broadcast(values, 0))
        return values

    def _with_others(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except RuntimeError as error:
            raise LostError(
                f"process {self.rank + 1} of {self.world} lost the others: one of them must have ended, and says why "
                f"if it could; the same command goes on from the last checkpoint ({str(error).splitlines()[0][:80]})"
            ) from error


ALONE = Share()
