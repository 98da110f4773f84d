"""The versions of all packages with which a study's records were made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bench.files import digest
from bench.publishing.bundles.manifest import LOCKED
from bench.records.environment import LOCK, committed_file
from bench.records.schema import Record


def lock_of(records: Sequence[Record]) -> bytes:
    """requirements.lock as most records name it by its hash: that of this checkout, or that of the recorded commit.

    Where neither has the hash, a list of the packages that the records name, which says so in its first line.
    """
    named = Counter((record.environment.get("lock_sha256"), record.environment.get("commit")) for record in records)
    (sha256, commit), _ = min(named.items(), key=lambda pair: (-pair[1], str(pair[0])))
    if sha256 is not None:
        candidates = (LOCK.read_bytes() if LOCK.is_file() else None, committed_file(str(commit), LOCKED))
        for content in candidates:
            if content is not None and digest(content) == sha256:
                return content
    of_those = (r.environment.get("packages") or {} for r in records if r.environment.get("lock_sha256") == sha256)
    packages = next(of_those, {})
    of_hash = f" with the SHA-256 {sha256}" if sha256 else ""
    head = f"# The versions that records name. Their complete lock{of_hash} was not at hand.\n"
    return (head + "".join(f"{name}=={packages[name]}\n" for name in sorted(packages))).encode()
