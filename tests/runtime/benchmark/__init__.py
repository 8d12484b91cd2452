"""Tests of confpress.runtime.benchmark."""
