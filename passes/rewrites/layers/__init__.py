"""Linear layers, norms and scores: one spelling of each, and less of them."""
