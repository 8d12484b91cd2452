"""A plan: what to prune, by the names that ``confpress inspect`` shows."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import pydantic
from pydantic import BaseModel, ConfigDict, Field, RootModel

from ..errors import ConfpressError
from ..structure import Kind, Module, Structure

#: What a module is made of, in the words of a plan.
PARTS = {
    Kind.FEED_FORWARD: "units",
    Kind.SELF_ATTENTION: "heads",
    Kind.CONVOLUTION: "channels",
}

#: What can be dropped; the last goes as a whole or not at all.
DROPPABLE = (*PARTS, Kind.BRANCHES)


class Cut(BaseModel):
    """Parts of one module that go."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    units: tuple[int, ...] = Field((), description="units of a feed-forward module")
    heads: tuple[int, ...] = Field((), description="heads of an attention module")
    channels: tuple[int, ...] = Field((), description="channels of a convolution module")
    of: int | None = Field(None, description="how many the module has; checked if given")

    def named(self) -> dict[str, tuple[int, ...]]:
        """The lists that are not empty."""
        lists = {"units": self.units, "heads": self.heads, "channels": self.channels}
        return {name: which for name, which in lists.items() if which}


class Plan(RootModel[dict[str, Literal["drop"] | Cut]]):
    """Modules by id, each with the parts that go or ``"drop"``.

    The id of a block (``encoder.layers.5``) with ``"drop"`` drops its modules; its last norm stays.
    """

    @classmethod
    def load(cls, path: Path | str) -> Plan:
        """Reads a JSON file.

        Raises:
            ConfpressError: the file cannot be read or is no plan.
        """
        try:
            return cls.model_validate_json(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfpressError(f"the plan {path} cannot be read: {error.strerror}.") from error
        except pydantic.ValidationError as error:
            # Every cut is first tried as the word "drop"; what is said of that is left out.
            said_of_cuts = [each for each in error.errors() if "literal" not in str(each["loc"])]
            first = (said_of_cuts or error.errors())[0]
            place = ".".join(str(each) for each in first["loc"] if each != "Cut")
            raise ConfpressError(
                f"the plan {path} is not valid at {place}: {first['msg']}."
            ) from error

    def to_json(self) -> str:
        """The plan as a file to edit."""
        return self.model_dump_json(indent=2, exclude_unset=True)


class Item(NamedTuple):
    """One module's share of a plan: the parts that go, or None for the whole module."""

    module: Module
    parts: tuple[int, ...] | None


def count_parts(module: Module) -> int:
    """How many units, heads or channels a module has; 0 for other kinds."""
    match module.kind:
        case Kind.FEED_FORWARD:
            # Units of experts go with all experts' or not at all, which no plan says.
            return module.feed_forward.units if module.feed_forward.experts == 1 else 0
        case Kind.SELF_ATTENTION:
            return module.attention.heads
        case Kind.CONVOLUTION:
            return module.convolution.channels
    return 0


def prunable(structure: Structure) -> list[Module]:
    """The modules whose parts can go one by one."""
    return [module for module in structure.of_kind(*PARTS) if count_parts(module)]


def plan_template(structure: Structure) -> Plan:
    """A plan that prunes nothing, with every module that can be pruned, to be edited."""
    cuts: dict[str, Literal["drop"] | Cut] = {}
    for module in prunable(structure):
        cuts[module.id] = Cut.model_validate({PARTS[module.kind]: (), "of": count_parts(module)})
    return Plan(cuts)


def resolve(plan: Plan, structure: Structure) -> list[Item]:
    """Finds the modules of a plan.

    Raises:
        ConfpressError: a name is unknown, or a module has no such parts; the sentence says which.
    """
    modules = {module.id: module for module in structure.modules}
    blocks = _blocks(structure)
    items = []
    for name, cut in plan.root.items():
        if cut == "drop" and name in blocks:
            items += [Item(module, None) for module in blocks[name]]
        elif name not in modules:
            near = difflib.get_close_matches(name, [*modules, *blocks], 1, 0.0)
            hint = f"; the nearest name is '{near[0]}'" if near else ""
            raise ConfpressError(f"the plan names '{name}', which is not in the model{hint}.")
        else:
            items += list(_item(modules[name], cut))
    return items


def _blocks(structure: Structure) -> Mapping[str, list[Module]]:
    blocks: dict[str, list[Module]] = {}
    for module in structure.of_kind(*DROPPABLE):
        if module.layer is not None:
            blocks.setdefault(f"encoder.layers.{module.layer}", []).append(module)
    return blocks


def _item(module: Module, cut: Literal["drop"] | Cut) -> Iterator[Item]:
    if module.kind not in DROPPABLE:
        raise ConfpressError(f"'{module.id}' is a {module.kind} module and has nothing to prune.")
    if cut == "drop":
        _check_drop(module)
        yield Item(module, None)
        return
    if module.kind not in PARTS:
        raise ConfpressError(
            f"'{module.id}' holds attention and a gate side by side: it goes as a whole "
            '("drop") or not at all.'
        )
    part, count = PARTS[module.kind], count_parts(module)
    if cut.of is not None and cut.of != count:
        raise ConfpressError(f"the plan is for a '{module.id}' of {cut.of} {part}; it has {count}.")
    for name, which in cut.named().items():
        if name != part:
            raise ConfpressError(f"'{module.id}' has {part}, not {name}.")
        wrong = [index for index in which if not 0 <= index < count]
        if wrong:
            raise ConfpressError(
                f"'{module.id}' has {count} {part}, 0 to {count - 1}; there is no {wrong[0]}."
            )
        yield Item(module, tuple(sorted(set(which))))


def _check_drop(module: Module) -> None:
    if module.residual_add is None or module.input is None:
        raise ConfpressError(
            f"'{module.id}' is not added to a residual stream: it cannot be dropped."
        )
    if module.stream_scale != 1:
        raise ConfpressError(f"the stream beside '{module.id}' is scaled: it cannot be dropped.")
    if module.caches:
        raise ConfpressError(
            f"'{module.id}' hands on a streaming cache that callers need: it cannot be dropped."
        )
