"""One run over several ranks that ``torchrun`` starts."""
