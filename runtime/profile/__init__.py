"""Where the time of one model goes."""
