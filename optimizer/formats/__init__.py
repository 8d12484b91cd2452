"""Which number format each layer gets: by error, by bytes, by words."""
