"""Memory that the operator takes beside its inputs: growth of the process's largest resident size (Linux).

python benchmarks/memory.py HEIGHT WIDTH GROUPS        # 16 channels a group, float32, one thread
"""

from __future__ import annotations

import argparse
import resource

import torch

from internimage.ops import dcnv3


def peak() -> float:
    """Largest resident size of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("height", "width", "groups"):
        parser.add_argument(name, type=int)
    options = parser.parse_args()
    height, width, groups = options.height, options.width, options.groups
    torch.set_num_threads(1)
    tensors = [torch.randn(1, height, width, groups * channels) for channels in (16, 18, 9)]
    with torch.no_grad():
        dcnv3(*(t[:, :8, :8].contiguous() for t in tensors), groups=groups)
        before = peak()
        output = dcnv3(*tensors, groups=groups)
    grown = peak() - before
    padded = (height + 3) * (width + 3) * groups * 16 * 4 / 2**20
    own = output.nbytes / 2**20
    parts = f"output {own:.0f}, padded input {padded:.0f}"
    print(f"{height}x{width}, {groups} groups: grew by {grown:.0f} MiB, of which {parts}")


if __name__ == "__main__":
    main()
