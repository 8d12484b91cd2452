"""Transfer rules by operator family: what is known of outputs, and which axes are tied.

Importing this package registers them. An operator without a rule makes its outputs unknown and
keeps all of its inputs.
"""

from __future__ import annotations

from . import (  # noqa: F401
    convolution,
    elementwise,
    layout,
    linear,
    normalisation,
    quantisation,
    reduction,
    selection,
    sizes,
)
