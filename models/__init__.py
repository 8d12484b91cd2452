"""A Conformer-CTC in torch: training, checkpoint adapters, export (extra `train`)."""
