"""File formats, without policy: MRC, TIFF, EER, records of archived movies, STAR files and lists."""
