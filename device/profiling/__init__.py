"""Measures the board that it runs on: how fast it computes and copies, and what that draws."""
