"""Tests of confpress.optimizer.result."""
