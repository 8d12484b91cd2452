"""Several processes that train one model: each takes its batches, gradients are averaged.

On a CPU, processes of one thread each use the cores better than one process of many threads,
since the operations of a small model are too short to be split.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import torch
from torch import distributed, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

T = TypeVar("T")


class Workers:
    """This process's place in the group; without a group it is the only one."""

    def __init__(self) -> None:
        active = distributed.is_available() and distributed.is_initialized()
        self.rank = distributed.get_rank() if active else 0
        self.count = distributed.get_world_size() if active else 1

    @property
    def first(self) -> bool:
        """Whether this process reports and writes."""
        return self.rank == 0

    def part(self, items: Sequence[T]) -> list[T]:
        """Every `count`-th item; all workers get as many."""
        whole = len(items) - len(items) % self.count
        return list(items[self.rank : whole : self.count])

    def mean(self, value: float) -> float:
        """The mean of the workers' values, the same for all."""
        if self.count == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64)
        distributed.all_reduce(shared)
        return shared.item() / self.count

    def gather(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """The workers' tensors of one shape, by rank, the same for all."""
        if self.count == 1:
            return [tensor]
        gathered = [torch.empty_like(tensor) for _ in range(self.count)]
        distributed.all_gather(gathered, tensor)
        return gathered

    def share(self, model: nn.Module) -> None:
        """Give every worker the first one's parameters."""
        if self.count > 1:
            vector = parameters_to_vector(model.parameters()).detach()
            distributed.broadcast(vector, 0)
            vector_to_parameters(vector, model.parameters())

    def average_gradients(self, model: nn.Module) -> None:
        """Replace the gradients by their mean over the workers."""
        self._average([p.grad for p in model.parameters() if p.grad is not None])

    def average_buffers(self, model: nn.Module) -> None:
        """Replace floating-point buffers (BatchNorm's statistics) by their mean."""
        self._average([b for b in model.buffers() if b.is_floating_point()])

    def _average(self, tensors: Sequence[torch.Tensor]) -> None:
        if self.count == 1:
            return
        flat = torch.cat([t.reshape(-1) for t in tensors])
        distributed.all_reduce(flat)
        flat /= self.count
        means = torch.split(flat, [t.numel() for t in tensors])
        for tensor, mean in zip(tensors, means, strict=True):
            tensor.copy_(mean.view_as(tensor))


def run_workers(count: int, function: Callable[[], None]) -> None:
    """Run `function` (which must pickle) in `count` processes of one group."""
    if count == 1:
        function()
        return
    with TemporaryDirectory() as folder:
        group = (count, Path(folder) / "group", function)
        spawn(_join_group, group, count)  # type: ignore[no-untyped-call]


def _join_group(rank: int, count: int, meeting: Path, function: Callable[[], None]) -> None:
    distributed.init_process_group(
        "gloo", init_method=meeting.as_uri(), rank=rank, world_size=count
    )
    try:
        function()
    finally:
        distributed.destroy_process_group()
