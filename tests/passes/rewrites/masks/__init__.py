"""Tests of confpress.passes.rewrites.masks."""
