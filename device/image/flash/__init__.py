"""Writes images to drives: only where nothing is lost, and never half."""
