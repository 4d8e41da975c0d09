"""Images made from a Raspberry Pi OS that the user has downloaded."""
