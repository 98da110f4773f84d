"""pyproject.toml, uv.lock and requirements.lock must agree, and no tracked file may name a download host.

python .ci/check_lock.py           fails with what differs
python .ci/check_lock.py --write   writes requirements.lock anew from pyproject.toml
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
EXPORT = ["uv", "export", "--no-emit-project", "--no-header", "--no-annotate", "--quiet"]
# An address of a package file, or an option that points a client at an index: neither belongs into a repository.
HOST = re.compile(r"https?://\S+\.(whl|tar\.gz)\b|^\s*(--)?(extra-)?(index-url|find-links)\b", re.MULTILINE)


def main() -> int:
    exported = subprocess.run(EXPORT, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    if "://" in exported:
        print("uv export names a host", file=sys.stderr)
        return 1
    if "--write" in sys.argv:
        LOCK.write_text(exported)
    problems = [f"{name}: names a download host" for name in tracked() if HOST.search(text_of(ROOT / name))]
    committed = LOCK.read_text() if LOCK.is_file() else ""
    if exported != committed:
        differing = set(exported.splitlines()) ^ set(committed.splitlines())
        named = sorted(line.split(" ")[0] for line in differing if "==" in line)
        problems.append(f"requirements.lock is not what pyproject.toml asks for: {', '.join(named) or 'hashes differ'}")
        problems.append("run: python .ci/check_lock.py --write")
    print("\n".join(problems) or "requirements.lock: agrees", file=sys.stderr if problems else sys.stdout)
    return 1 if problems else 0


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [name for name in listed.splitlines() if (ROOT / name).is_file()]


def text_of(file: Path) -> str:
    return file.read_bytes().decode("utf-8", errors="ignore")


if __name__ == "__main__":
    sys.exit(main())
