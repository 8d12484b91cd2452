"""What a result says of itself, as a page, and beside other results."""
