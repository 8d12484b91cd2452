"""Fusions: parts of modules become one operator of ours, proven by evaluating both."""
