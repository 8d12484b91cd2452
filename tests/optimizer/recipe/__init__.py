"""Tests of confpress.optimizer.recipe."""
