"""Which kernels layers really run on, and where."""
