"""Convolutions: one spelling, and the layout that is computed fast."""
