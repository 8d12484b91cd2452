"""Tests of confpress.optimizer.training."""
