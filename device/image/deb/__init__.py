"""The edge layer as a Debian package, written without root and without Debian's tools."""
