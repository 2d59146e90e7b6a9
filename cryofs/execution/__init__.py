"""Tasks and their messages, carried out by threads or processes of this machine; independent of movies."""
