"""Tests of confpress.passes.operators."""
