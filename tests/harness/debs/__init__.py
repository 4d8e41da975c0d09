"""Trials of the Debian package on systems of Debian: `make deb-test`."""
