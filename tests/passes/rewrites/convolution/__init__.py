"""Tests of confpress.passes.rewrites.convolution."""
