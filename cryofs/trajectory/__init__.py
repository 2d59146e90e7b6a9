"""Convert motion trajectories, the STAR files of RELION's motion correction, to other fractions of EER movies."""
