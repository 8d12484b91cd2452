"""Rewrites of float models that change no result, one a file; most serve every target."""
