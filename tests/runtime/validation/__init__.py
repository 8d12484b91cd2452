"""Tests of confpress.runtime.validation."""
