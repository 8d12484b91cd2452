"""Training of a Conformer-CTC: synthetic speech, augmentation, the loop."""
