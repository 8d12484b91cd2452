"""Tests of confpress.optimizer.cuda."""
