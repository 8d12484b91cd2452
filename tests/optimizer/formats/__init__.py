"""Tests of confpress.optimizer.formats."""
