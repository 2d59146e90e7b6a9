"""Motion trajectories of RELION: STAR files of motion correction, changed to another grouping or upsampling of EER."""
