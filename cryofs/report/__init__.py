"""Create previews of movies, and the HTML report of an archive."""

from cryofs.system import extras

extras.require("report", "jinja2", "matplotlib", "PIL")
