"""Attention: positions, shifts, heads and blocks of queries."""
