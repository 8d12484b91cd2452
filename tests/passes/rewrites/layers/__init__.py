"""Tests of confpress.passes.rewrites.layers."""
