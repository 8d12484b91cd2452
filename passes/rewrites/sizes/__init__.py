"""Shapes and sizes: known where they can be, asked of what is small."""
