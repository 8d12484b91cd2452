"""Tests of confpress.runtime.calibration."""
