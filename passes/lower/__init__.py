"""Lowering: from the interchange model's QDQ nodes to operators that run fast, one target a file."""
