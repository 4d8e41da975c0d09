"""Whole runs on one machine or many, the data they need, and their reports."""
