"""Images for boards: what a workstation does to build, personalise, check and write them."""
