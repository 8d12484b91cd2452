"""What speech says of a model's values: ranges, moments, samples."""
