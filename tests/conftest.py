"""One thread of torch for every test process, as `make test` has it: toy sizes are no faster with more, and sums of odd
shapes depend on the count. Set before torch is loaded."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
