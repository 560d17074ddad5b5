"""A new user's first minutes: `python -m benchmarks.new_user dist/*.whl`.

The wheel goes into an empty environment in a folder outside the checkout; then the demo, and `why` about one line.
Printed are the seconds of each step, those of the processor, and the machine's load before and after.
"""

import argparse
import os
import resource
import subprocess
import tempfile
import time
import venv
from pathlib import Path


def main() -> None:
    """Install, run the demo, ask why; each step a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    wheel = parser.parse_args().wheel.resolve()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with tempfile.TemporaryDirectory(prefix="limitlens-new-user-") as folder:
        venv.create(Path(folder, "empty"), with_pip=True)
        print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}", flush=True)
        total = 0.0
        for command in (
            f"pip install --quiet {wheel}",
            "limitlens demo demo",
            "limitlens why A000006 --workspace demo/work",
        ):
            began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
            done = subprocess.run(
                [f"empty/bin/{command.split()[0]}", *command.split()[1:]],
                cwd=folder, env=environment, capture_output=True, text=True, check=False,
            )  # fmt: skip
            if done.returncode:
                raise SystemExit(done.stdout + done.stderr)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            took = time.monotonic() - began
            total += took
            print(
                f"{took:4.0f} s, {used:3.0f} s of the processor: {command}".replace(str(wheel), wheel.name), flush=True
            )
        print(done.stdout.splitlines()[0])
        print(f"{total:4.0f} s from the wheel to the answer; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
