"""Trials of the Debian package on systems of Debian and Ubuntu: `make deb-test`."""
