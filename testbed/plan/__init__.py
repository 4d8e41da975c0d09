"""Tests predictions against measured times, and draws plans."""
