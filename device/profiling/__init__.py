"""Measures this board: how fast it computes and sends, and what that costs."""
