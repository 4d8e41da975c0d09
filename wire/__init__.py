"""Shared by both ends: errors, messages, frames, chunks, keys, secure sockets, bundles.

Importing this package imports nothing else, so that ``slfac --help`` works before any
extra is installed; import the module you need (``slfac.wire.keys`` and so on).
"""
