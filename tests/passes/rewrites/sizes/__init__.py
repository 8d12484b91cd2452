"""Tests of confpress.passes.rewrites.sizes."""
