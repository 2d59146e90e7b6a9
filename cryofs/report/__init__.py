"""Pictures of movies, and the report of an archive: what people look at. The numbers come from the rooms below."""
