"""Backward analysis: which places must stay, found by spreading need along the links."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from .links import Axis, Contraction, Flags, Link, Places


class Need:
    """The least set of places that must stay.

    Attributes:
        links: All links of the graph.
    """

    def __init__(self, sizes: Mapping[Axis, int], links: Iterable[Link]) -> None:
        self._flags = {axis: np.zeros(size, bool) for axis, size in sizes.items()}
        self._causes = {axis: np.zeros(size, np.int32) for axis, size in sizes.items()}
        self._reasons: list[str] = [""]
        self._numbers: dict[str, int] = {"": 0}
        self._watchers: defaultdict[Axis, list[Link]] = defaultdict(list)
        self._queue: deque[Link] = deque()
        self._queued: set[int] = set()
        self.links = list(links)
        for link in self.links:
            for axis in link.watched if isinstance(link, Contraction) else link.axes:
                self._watchers[axis].append(link)
            self._enqueue(link)
        self._run()
        self._keep_one_place()

    def flags(self, axis: Axis) -> Flags:
        """Which places of an axis stay."""
        return self._flags[axis]

    def kept(self, axis: Axis) -> Flags | None:
        """As ``flags``, None for axes of unknown size or size one."""
        return self._flags.get(axis)

    def is_cut(self, axis: Axis) -> bool:
        """Whether any place of the axis goes."""
        flags = self._flags.get(axis)
        return flags is not None and not flags.all()

    def causes(self, axis: Axis) -> npt.NDArray[np.int32]:
        """Number of the reason for which every place stays."""
        return self._causes[axis]

    def any_cause(self, axis: Axis) -> int:
        """One of the reasons on an axis."""
        return int(self._causes[axis].max(initial=0))

    def reason(self, text: str) -> int:
        """The number of a reason."""
        if text not in self._numbers:
            self._numbers[text] = len(self._reasons)
            self._reasons.append(text)
        return self._numbers[text]

    def why(self, axis: Axis, place: int) -> str:
        """Why a place stays."""
        return self._reasons[int(self._causes[axis][place])]

    def raise_places(
        self, axis: Axis, places: Places | slice, stays: Flags, causes: npt.NDArray[np.integer]
    ) -> None:
        """Lets places stay where ``stays`` is set, for the reasons given."""
        flags = self._flags[axis]
        new = stays & ~flags[places]
        if not new.any():
            return
        chosen = np.arange(flags.size)[places][new]
        flags[chosen] = True
        self._causes[axis][chosen] = np.asarray(causes)[new]
        for link in self._watchers[axis]:
            self._enqueue(link)

    def _enqueue(self, link: Link) -> None:
        if id(link) not in self._queued:
            self._queued.add(id(link))
            self._queue.append(link)

    def _run(self) -> None:
        while self._queue:
            link = self._queue.popleft()
            self._queued.discard(id(link))
            link.spread(self)

    def _keep_one_place(self) -> None:
        """No axis becomes empty: what would lose all its places keeps the first."""
        for axis, flags in self._flags.items():
            if flags.size and not flags.any():
                cause = self.reason("an axis of size zero is no tensor that every runtime takes")
                self.raise_places(axis, slice(0, 1), np.ones(1, bool), np.full(1, cause))
                self._run()
