"""Tests of confpress.runtime.costs."""
