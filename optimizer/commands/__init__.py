"""The commands, one a file; each module holds a click command named ``command``."""
