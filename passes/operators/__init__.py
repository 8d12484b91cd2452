"""The kernel library's operators: layout of the weights, meaning as a function body, nodes."""
