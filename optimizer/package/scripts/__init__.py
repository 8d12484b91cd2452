"""Programs that are copied into packages; there they stand beside the modules they import."""
