"""`make bench`: cryofs against relion_convert_to_tiff and against compressed file systems, in the same run.

Times of one machine mean little, so each row gives both sides and their ratio; every figure is the median of a few
runs. Three full-size gain-normalised K2 movies (40 frames of 3710 x 3838, 2.28 GB each) and a Falcon 4 EER movie (1,113
frames of 4096 x 4096, 0.5 GB) are made first, in a temporary folder that needs 10 GB; `--folder` keeps them for the
next time.
"""

import argparse
import os
import shutil
import tempfile
from pathlib import Path

from benchmarks.compare_eer import EerComparison
from benchmarks.compare_mrc import MrcComparison


def main() -> None:
    """Run the comparisons and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="keep movies and archives here")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cryofs-bench-") as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        print(f"{os.cpu_count()} cores, {arguments.runs} runs each, medians\n")
        print("| what | cryofs | peer | ratio |\n|---|---|---|---|", flush=True)
        mrc, eer = MrcComparison(folder, arguments.runs), EerComparison(folder, arguments.runs)
        mrc.make_movies()
        eer.make_movie()
        if shutil.which("relion_convert_to_tiff"):
            mrc.estimating()
            mrc.compressing_one()
            mrc.compressing_all()
            eer.reading()
            eer.converting()
        else:
            print("| (relion_convert_to_tiff is not installed) | | | |")
        mrc.reading()


if __name__ == "__main__":
    main()
