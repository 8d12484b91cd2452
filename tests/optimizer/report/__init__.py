"""Tests of confpress.optimizer.report."""
