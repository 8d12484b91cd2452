"""What layers cost on this machine in each form: tables that decisions read."""
