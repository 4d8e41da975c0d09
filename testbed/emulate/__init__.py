"""Emulated LANs: hosts on this machine with links of a set rate, delay, jitter and loss."""
