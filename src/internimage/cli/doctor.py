"""internimage doctor"""

from __future__ import annotations

from dataclasses import dataclass

from tyro.conf import FlagCreatePairsOff

from internimage.cli.common import print_json


@dataclass(frozen=True)
class Doctor:
    """Print what this machine runs: versions, devices, operator implementation, cache, hub.

    Paste its output into a bug report.
    """

    json: FlagCreatePairsOff[bool] = False
    """Print one JSON object."""

    def run(self) -> int:
        from internimage.doctor import examine

        findings = examine()
        if self.json:
            print_json(findings, indent=2)
            return 0
        width = max(len(name) for name in findings)
        for name, value in findings.items():
            print(f"{name:<{width}}  {value}")
        return 0
