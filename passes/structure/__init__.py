"""The module recogniser: what in an ONNX graph is which part of a Conformer.

``recognise`` analyses, ``Recognise`` stamps stable layer ids. Everything that speaks of modules
(inspection, pruning plans, formats, audit, profile) uses this one.
"""

from __future__ import annotations

from .modules import (
    Activation,
    Cache,
    Convolution,
    ConvolutionModule,
    FeedForward,
    Kind,
    Linear,
    Module,
    Norm,
    Position,
    SelfAttention,
    Structure,
    Subsampling,
)
from .recognise import Recognise, recognise

__all__ = [
    "Activation",
    "Cache",
    "Convolution",
    "ConvolutionModule",
    "FeedForward",
    "Kind",
    "Linear",
    "Module",
    "Norm",
    "Position",
    "Recognise",
    "SelfAttention",
    "Structure",
    "Subsampling",
    "recognise",
]
