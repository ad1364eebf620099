"""One of two processes that fit together; run by the tests with its rank.

Each scenario is a function of this process; what it returns, or the error it raises, is
written to a file for the tests to look at.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import torch.distributed as dist
from processes.scenarios import SCENARIOS


def main(rank: int, count: int, folder: Path) -> None:
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=count
    )
    for name, scenario in SCENARIOS.items():
        try:
            found = scenario(rank, folder)
        except Exception as error:
            found = error
        (folder / f"{name}_{rank}.pickle").write_bytes(pickle.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
