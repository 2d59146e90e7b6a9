"""Read and write file formats, without policy: MRC, TIFF, EER, records of archived movies, STAR and list files."""
