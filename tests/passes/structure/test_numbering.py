"""Blocks and names follow from the order of kinds alone."""

from __future__ import annotations

import pytest
from confpress.passes.structure import Kind
from confpress.passes.structure.numbering import number

KINDS = {
    "F": Kind.FEED_FORWARD,
    "A": Kind.SELF_ATTENTION,
    "C": Kind.CONVOLUTION,
    "B": Kind.BRANCHES,
    "N": Kind.NORM,
    "?": Kind.OTHER,
}
SHORT = {"feed_forward": "ff", "self_attn": "att", "norm_out": "norm", "layers.": ""}


def numbered(kinds: str) -> str:
    """``FACFN`` gives ``0.ff1 0.att 0.conv 0.ff2 0.norm``."""
    names = " ".join(number([KINDS[kind] for kind in kinds]))
    for long, short in SHORT.items():
        names = names.replace(long, short)
    return names


BLOCK0 = "0.ff1 0.att 0.conv 0.ff2"
BLOCK1 = "1.ff1 1.att 1.conv 1.ff2"


@pytest.mark.parametrize(
    ("kinds", "names"),
    [
        # A norm ends every block.
        ("FACFNFACFN", f"{BLOCK0} 0.norm {BLOCK1} 1.norm"),
        ("FACFNFACFNN", f"{BLOCK0} 0.norm {BLOCK1} 1.norm norm"),
        ("FCAFNFCAFN", "0.ff1 0.conv 0.att 0.ff2 0.norm 1.ff1 1.conv 1.att 1.ff2 1.norm"),
        ("FACFN", f"{BLOCK0} 0.norm"),
        # Modules that were pruned leave gaps, whole blocks leave their norm.
        ("FACFNFAFNFACFN", f"{BLOCK0} 0.norm 1.ff1 1.att 1.ff2 1.norm"
                           " 2.ff1 2.att 2.conv 2.ff2 2.norm"),
        ("FACFNNFACFN", f"{BLOCK0} 0.norm 1.norm 2.ff1 2.att 2.conv 2.ff2 2.norm"),
        # Modules behind the encoder's norm.
        ("FACFNFACFNNFN", f"{BLOCK0} 0.norm {BLOCK1} 1.norm norm after.ff after.norm"),
        # No norms between blocks.
        ("FACFFACFN", f"{BLOCK0} {BLOCK1} norm"),
        ("FBFFBFN", "0.ff1 0.branches 0.ff2 1.ff1 1.branches 1.ff2 norm"),
        ("ACFACFN", "0.att 0.conv 0.ff 1.att 1.conv 1.ff norm"),
        ("FACFACN", "0.ff1 0.att 0.conv 1.ff1 1.att 1.conv norm"),
        ("AFAFAF", "0.att 0.ff 1.att 1.ff 2.att 2.ff"),
        ("ACFFACFF", "0.att 0.conv 0.ff1 0.ff2 1.att 1.conv 1.ff1 1.ff2"),
        # ... and pruned.
        ("FACFFAFFACF", f"{BLOCK0} 1.ff1 1.att 1.ff2 2.ff1 2.att 2.conv 2.ff2"),
        ("FACFACF", f"{BLOCK0} 1.att 1.conv 1.ff2"),
        # One block.
        ("FACF", BLOCK0),
        ("F", "0.ff"),
        ("FN", "0.ff 0.norm"),
        # A norm after every module.
        ("ANFNANFN", "0.att 0.att_norm 0.ff 0.ff_norm 1.att 1.att_norm 1.ff 1.ff_norm"),
        ("FNANCNFNNFNANCNFNN",
         "0.ff1 0.ff1_norm 0.att 0.att_norm 0.conv 0.conv_norm 0.ff2 0.ff2_norm 0.norm "
         "1.ff1 1.ff1_norm 1.att 1.att_norm 1.conv 1.conv_norm 1.ff2 1.ff2_norm 1.norm"),
        # Unknown modules.
        ("F?CFNFACFN", f"0.ff1 0.other 0.conv 0.ff2 0.norm {BLOCK1} 1.norm"),
        ("F?CFF?CF", "0.ff1 0.other 0.conv 0.ff2 1.ff1 1.other 1.conv 1.ff2"),
        ("FACF?FACF", f"{BLOCK0} 0.other {BLOCK1}"),
        ("FACCF", "0.ff1 0.att 0.conv 1.conv 1.ff2"),
        ("", ""),
        ("NN", "norm after.norm"),
    ],
)  # fmt: skip
def test_order_gives_names(kinds: str, names: str) -> None:
    assert numbered(kinds) == names


def test_names_are_unique() -> None:
    for kinds in ("FF?FNN", "CCN", "A?AN?N", "N?FNNFNN"):
        names = number([KINDS[kind] for kind in kinds])
        assert len(set(names)) == len(names) == len(kinds)
