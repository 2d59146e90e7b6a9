"""Archive the finished plain movies of a folder, in place."""
