"""slfac for NVIDIA's Jetson: into the user's own root file system, or one that runs already."""
