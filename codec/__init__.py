"""Codecs: tensors to few bytes and back."""
