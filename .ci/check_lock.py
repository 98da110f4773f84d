"""Check that pyproject.toml, uv.lock and requirements.lock agree, and that no tracked file names a download host.

    python .ci/check_lock.py           fails and says what differs
    python .ci/check_lock.py --write   writes requirements.lock and the pins; upgrades packages if uv.lock is absent

A cut-off date (`exclude-newer`) alone does not fix the environment, because an index may show a release only after that
date although it is dated before. So pyproject.toml also pins every version, from the line PINS to the closing bracket.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECT, LOCK = ROOT / "pyproject.toml", ROOT / "requirements.lock"
PINS = "constraint-dependencies = [  # every version of requirements.lock: written by .ci/check_lock.py\n"
EXPORT = ["uv", "export", "--no-emit-project", "--no-header", "--no-annotate", "--quiet"]
# The address of a package file, or an option that points a client at an index. Neither belongs in a repository.
HOST = re.compile(r"https?://\S+\.(whl|tar\.gz)\b|^\s*(--)?(extra-)?(index-url|find-links)\b", re.MULTILINE)


def main() -> int:
    if "--write" in sys.argv:
        write_pins([])  # the old pins would refuse a version that pyproject.toml now asks for
        write_pins(pins_of(export()))
    exported = export()
    if "://" in exported:
        print("uv export names a host", file=sys.stderr)
        return 1
    if "--write" in sys.argv:
        LOCK.write_text(exported)
    problems = [f"{name}: names a download host" for name in tracked() if HOST.search(text_of(ROOT / name))]
    committed = LOCK.read_text() if LOCK.is_file() else ""
    if exported != committed or block_of(pins_of(committed)) not in PROJECT.read_text():
        differing = set(exported.splitlines()) ^ set(committed.splitlines())
        named = sorted(line.split(" ")[0] for line in differing if "==" in line)
        problems.append(
            f"requirements.lock is not what pyproject.toml asks for: {', '.join(named) or 'hashes or pins'}"
        )
        problems.append("run: python .ci/check_lock.py --write")
    print("\n".join(problems) or "requirements.lock: agrees", file=sys.stderr if problems else sys.stdout)
    return 1 if problems else 0


def export() -> str:
    """requirements.lock as uv writes it from pyproject.toml and uv.lock."""
    return subprocess.run(EXPORT, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def pins_of(lock: str) -> list[str]:
    """`name==version` of each package, with its marker if the version depends on that of Python."""
    lines = [line.removesuffix("\\").strip() for line in lock.splitlines() if re.match(r"[\w.-]+==", line)]
    names = [line.split("==")[0] for line in lines]
    return [line if names.count(name) > 1 else line.split(" ")[0] for name, line in zip(names, lines, strict=True)]


def block_of(pins: list[str]) -> str:
    return PINS + "".join(f'    "{pin}",\n' for pin in pins) + "]\n"


def write_pins(pins: list[str]) -> None:
    """Replace the block of pins in pyproject.toml."""
    before, _, rest = PROJECT.read_text().partition(PINS)
    PROJECT.write_text(before + block_of(pins) + rest.partition("]\n")[2])


def tracked() -> list[str]:
    """The files that git tracks and that exist."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [name for name in listed.splitlines() if (ROOT / name).is_file()]


def text_of(file: Path) -> str:
    return file.read_bytes().decode("utf-8", errors="ignore")


if __name__ == "__main__":
    sys.exit(main())
