"""Conversion of motion trajectories (STAR files of RELION's motion correction) to other fractions of EER movies."""
