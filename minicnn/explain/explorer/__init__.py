"""A layer laid open: all of its numbers, forward and backward, with the products they are made of, as text and page."""
