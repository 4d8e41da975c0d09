"""Ways of split learning, one file each."""
