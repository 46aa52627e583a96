"""files.py DIRECTORY COUNT SEED [MEDIAN SIGMA MAX]: files with sizes like those of a /usr, each with a content of its own."""

import math
import os
import random
import sys

directory, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
# Median 2.5 KiB, mean about 13 KiB: log-normal, cut at 4 MiB.
median, sigma, largest = sys.argv[4:7] or (2440, 1.8, 4 << 20)
draw = random.Random(seed)
for number in range(count):
    size = min(int(draw.lognormvariate(math.log(float(median)), float(sigma))) + 1, int(largest))
    parent = os.path.join(directory, str(number % 211))
    os.makedirs(parent, exist_ok=True)
    with open(os.path.join(parent, f"{number}"), "wb") as file:
        file.write(f"{seed} {number}\n".encode() + draw.randbytes(size))
