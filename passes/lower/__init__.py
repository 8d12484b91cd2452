"""Lowering: from QDQ nodes to operators that run fast, one target a file."""
