"""Tests of confpress.passes.rewrites.attention."""
