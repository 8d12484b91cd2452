"""Tests of confpress.passes.rewrites."""
