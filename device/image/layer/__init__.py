"""The edge layer: slfac with its wheels, for one Python, and what starts it on a board."""
