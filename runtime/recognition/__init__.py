"""Models as recognisers: audio in, text out."""
