"""Looks into an image, and starts it in QEMU."""
