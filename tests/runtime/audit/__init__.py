"""Tests of confpress.runtime.audit."""
