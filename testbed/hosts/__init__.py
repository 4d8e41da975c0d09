"""Real hosts of a testbed, over SSH: installs slfac there, runs it, watches it, takes it away."""
