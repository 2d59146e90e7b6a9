"""The bytes of one format each, no policy: MRC, TIFF and its codecs, the record, STAR and list files."""
