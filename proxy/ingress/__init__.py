"""The client side of the HTTP server: one module for each group of paths."""
