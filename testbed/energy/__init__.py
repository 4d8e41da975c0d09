"""Shows what `slfac profile run` has measured: figures and one HTML page."""
