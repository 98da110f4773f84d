"""Whether all shards of a split are there: train-00000-of-00003 says that there are three."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePath

from bench.errors import BenchError

_SHARD = re.compile(r"(?P<start>.*?-)(?P<number>\d+)(?P<of>-of-)(?P<total>\d+)(?P<end>.*)")
_NUMBERED = re.compile(r"(?P<start>(?:.*\D)?)(?P<number>\d+)(?P<end>\.[a-z].*)", re.IGNORECASE)


def check_shards(files: Sequence[PurePath], where: str) -> None:
    """Raises BenchError where a shard is missing, is there twice, or belongs to another number of shards."""
    groups: dict[tuple[PurePath, str], list[tuple[PurePath, re.Match[str]]]] = defaultdict(list)
    for file in files:
        match = _SHARD.fullmatch(file.name)
        if match:
            groups[file.parent, match["start"]].append((file, match))
    for shards in groups.values():
        totals = {int(match["total"]): file for file, match in shards}
        if len(totals) > 1:
            one, other = list(totals.values())[:2]
            raise BenchError(f"{where}: {one} and {other} are shards of different wholes: remove those of one")
        (total,) = totals
        _check(shards, total, where)


def check_numbered(files: Sequence[PurePath], where: str) -> None:
    """Raises BenchError where one of 0000.parquet, 0001.parquet, ... is missing. The last may be missing unnoticed."""
    groups: dict[tuple[PurePath, str], list[tuple[PurePath, re.Match[str]]]] = defaultdict(list)
    for file in files:
        match = _NUMBERED.fullmatch(file.name)
        if match and not _SHARD.fullmatch(file.name):
            groups[file.parent, match["start"]].append((file, match))
    for numbered in groups.values():
        first, match = min(((int(match["number"]), match) for _, match in numbered), key=lambda pair: pair[0])
        # 2019.csv and 2020.csv are no shards. The hub counts its own from 0000.
        if first <= 1 or match["number"].startswith("0"):
            last = max(int(match["number"]) for _, match in numbered)
            starts_at_one = first == 1 and match["start"] != ""
            _check(numbered, last + (0 if starts_at_one else 1), where)


def _check(shards: Sequence[tuple[PurePath, re.Match[str]]], total: int, where: str) -> None:
    """Raises BenchError unless the shards are numbered 0 to `total` - 1, or 1 to `total`."""
    by_number: dict[int, PurePath] = {}
    for file, match in shards:
        number = int(match["number"])
        if number in by_number:
            raise BenchError(f"{where}: {by_number[number]} and {file} are the same shard: remove one of them")
        by_number[number] = file
    first = 1 if total in by_number and 0 not in by_number else 0
    beyond = [file for number, file in by_number.items() if not first <= number < first + total]
    if beyond:
        raise BenchError(f"{where}: {beyond[0]} has a number beyond {total} shards")
    missing = [number for number in range(first, first + total) if number not in by_number]
    if missing:
        file, match = shards[0]
        digits, end = len(match["number"]), match.string[match.end("number") :]
        names = [f"{match['start']}{number:0{digits}d}{end}" for number in missing[:3]]
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise BenchError(
            f"{where}: {len(missing)} of {total} shards {'is' if len(missing) == 1 else 'are'} missing in "
            f"{file.parent}: {', '.join(names)}{more}"
        )
