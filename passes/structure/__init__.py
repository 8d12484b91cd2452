"""The module recogniser: what in an ONNX graph is which part of a Conformer.

``recognise`` analyses, ``Recognise`` stamps stable layer ids. Everything that speaks of modules
(inspection, pruning plans, formats, audit, profile) uses this one.
"""

from __future__ import annotations

from .interface import Layout, SpeechInterface, speech_interface
from .modules import (
    ATTENDING,
    Activation,
    Branches,
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
from .summary import LayerSummary, ModuleSummary, Summary, summarise

__all__ = [
    "ATTENDING",
    "Activation",
    "Branches",
    "Cache",
    "Convolution",
    "ConvolutionModule",
    "FeedForward",
    "Kind",
    "LayerSummary",
    "Layout",
    "Linear",
    "Module",
    "ModuleSummary",
    "Norm",
    "Position",
    "Recognise",
    "SelfAttention",
    "SpeechInterface",
    "Structure",
    "Subsampling",
    "Summary",
    "recognise",
    "speech_interface",
    "summarise",
]
