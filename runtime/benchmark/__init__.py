"""Latency, throughput, memory and energy of models, side by side in one run."""
