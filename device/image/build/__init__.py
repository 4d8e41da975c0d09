"""Builds images: a base of Debian packages, the edge layer on top, and a disk around both."""
