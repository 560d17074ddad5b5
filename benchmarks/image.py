"""The image without docker: steps of the Dockerfile in an empty environment, its size, a run on a read-only root.

``python -m benchmarks.image`` runs the first stage's ``COPY`` and ``RUN`` in a new folder that stands for ``/``, and
sums what the second stage copies from it. As root it then runs the demo, ``why`` and the health check as the image
would: as its user, the whole file system read-only but for the volume. What the system's package manager does in the
second stage is named and not done.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import venv
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

ROOT = Path(__file__).parent.parent

#: Places of the image that the first stage makes; in a step they mean the folder that stands for ``/``.
_PLACES = re.compile(r"(?<![\w/.])/(?=(?:src|dist|opt)\b)")


@dataclass(frozen=True)
class Stage:
    """One ``FROM`` and the instructions up to the next."""

    base: str
    instructions: list[tuple[str, str]]

    def all(self, word: str) -> list[str]:
        """What follows each instruction of a kind."""
        return [rest for name, rest in self.instructions if name == word]


def stages(text: str) -> list[Stage]:
    """Stages of a Dockerfile; one line an instruction."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    pairs = [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]
    starts = [i for i, (word, _) in enumerate(pairs) if word == "FROM"]
    ends = [*starts[1:], len(pairs)]
    return [Stage(pairs[i][1], pairs[i + 1 : end]) for i, end in zip(starts, ends, strict=True)]


def build(stage: Stage, root: Path) -> None:
    """Run a stage in a folder, with a bare environment of this Python for that of the base image."""
    venv.create(root / "base", with_pip=True)
    work = root
    for word, rest in stage.instructions:
        print(f"{word} {rest}", flush=True)
        if word == "WORKDIR":
            work = root / rest.lstrip("/")
            work.mkdir(parents=True)
        elif word == "COPY":
            *sources, target = rest.split()
            for source in sources:
                _copy(ROOT / source, work / target)
        elif word == "RUN":
            began = time.monotonic()
            command = _PLACES.sub(f"{root}/", rest)
            path = f"{root}/base/bin:/usr/bin:/bin"
            subprocess.run(["/bin/sh", "-c", command], cwd=work, env=os.environ | {"PATH": path}, check=True)
            print(f"  {time.monotonic() - began:.0f} s", flush=True)
        else:
            raise SystemExit(f"{word}: the first stage has no such instruction so far")


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def megabytes(folder: Path) -> float:
    """Size of the files below a folder, links not followed."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir()) / 1e6


def read_only(command: str, user: str, volume: Path, environment: dict[str, str]) -> None:
    """Run a command as a user whose whole file system is read-only but for one folder."""
    # Python itself may lie where only root looks: to read is granted, to write is not.
    caps = "--inh-caps=-all,+dac_read_search --ambient-caps=-all,+dac_read_search --bounding-set=-all,+dac_read_search"
    inside = (
        f"mount --make-rprivate / && mount --bind {volume} {volume} && mount -o remount,bind,ro / && cd {volume} && "
        f"exec setpriv --reuid {user} --regid {user} --clear-groups {caps} --no-new-privs "
        f"sh -c {shlex.quote(f'! touch /tmp/limitlens-may-not 2> /dev/null && {command}')}"
    )
    began = time.monotonic()
    done = subprocess.run(
        ["/usr/bin/unshare", "--mount", "sh", "-c", inside],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    print(f"{command}: exit code {done.returncode}, {time.monotonic() - began:.0f} s")
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    print("\n".join(f"  {line}" for line in done.stdout.splitlines()[:3]))


def main() -> None:
    """Build, weigh, run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-mb", type=float, default=130.0, help="Size of the base image, which is not here.")
    parser.add_argument("--keep", action="store_true", help="Leave the folder.")
    options = parser.parse_args()
    first, last = stages((ROOT / "Dockerfile").read_text(encoding="utf-8"))
    root = Path(mkdtemp(prefix="limitlens-image-"))
    root.chmod(0o755)
    try:
        build(first, root)
        for step in last.all("RUN"):
            print(f"not done here: {step}")
        ours = megabytes(root / "opt")
        print(f"{ours:.0f} MB, with a base image of {options.base_mb:.0f} MB {ours + options.base_mb:.0f} MB")
        if os.geteuid() == 0:
            [user] = last.all("USER")
            volume = root / "data"
            volume.mkdir()
            os.chown(volume, int(user), int(user))
            environment = {"PATH": f"{root}/opt/limitlens/bin:/usr/bin:/bin", "HOME": str(volume)}
            [check] = last.all("HEALTHCHECK")
            health = shlex.join(json.loads(check.partition("CMD ")[2]))
            for command in ("limitlens demo limitlens-demo", "limitlens why A000006 --workspace limitlens-demo/work"):
                read_only(command, user, volume, environment)
            read_only(f"{health} --workspace limitlens-demo/work", user, volume, environment)
        else:
            print("not root: not run on a read-only root")
    finally:
        if not options.keep:
            shutil.rmtree(root)


if __name__ == "__main__":
    sys.exit(main())
