"""Everything that executes: sessions, kernels, speech, validation, benchmark."""
