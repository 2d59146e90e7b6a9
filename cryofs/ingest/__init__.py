"""Turn finished plain movies of an archive into archived movies, in place."""
