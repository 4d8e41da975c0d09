"""The data sets of experiments, by name: fetched once, or from a folder that the user has."""
