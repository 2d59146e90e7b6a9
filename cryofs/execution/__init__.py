"""Execution of tasks by threads or processes of this machine, independent of movies."""
