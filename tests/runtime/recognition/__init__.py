"""Tests of confpress.runtime.recognition."""
