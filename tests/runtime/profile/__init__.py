"""Tests of confpress.runtime.profile."""
