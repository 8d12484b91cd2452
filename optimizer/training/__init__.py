"""What needs torch: training, fine-tuning, export."""
