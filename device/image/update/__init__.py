"""Versions of slfac on a board: put in, tried, switched to, and gone back from."""
