"""Images under QEMU, in training against a server of this machine."""
