"""Build hook: puts the compiled CPU kernels into the wheel, or into the source tree of an editable install.

They are two libraries, PyTorch's and ONNX Runtime's.

Without a compiler, or where compiling fails, the package is pure Python and says so in `internimage doctor`.
INTERNIMAGE_NATIVE=0 asks for that.  Wheels for other machines are packed by tools/wheels.py.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUILD = "src/internimage/ops/native/build.py"


class KernelsBuildHook(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel" or os.environ.get("INTERNIMAGE_NATIVE") == "0":
            return
        native = runpy.run_path(str(Path(self.root, BUILD)))
        try:
            native["build_if_stale"]()
        except (FileNotFoundError, subprocess.CalledProcessError) as error:
            reason = getattr(error, "stdout", None) or error
            print(f"internimage: installing without compiled CPU kernels: {reason}", file=sys.stderr)
            return
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"
