"""Experiments: a matrix of training runs, carried out by a backend, kept and reused."""
