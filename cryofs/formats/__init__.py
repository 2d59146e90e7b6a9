"""File formats, without policy: MRC, TIFF, EER, the record of an archived movie, STAR and list files."""
