"""Lines about what becomes of the movies that programs wrote through a mount."""

from typing import Any

from cryofs.text import counted, duration_text, percent, size_text

# what movies wait for, by the reason in the figures of a mount
_REASONS = {
    "settling": "changed recently",
    "gain": "wait for a gain reference",
    "open": "open for writing",
    "unfinished": "incomplete by their header",
    "retry": "to be tried again",
    "room": "wait for room on the disk",
    "ingesting": "being archived",
}


def outcome_lines(ingest: dict[str, Any]) -> list[str]:
    """Return lines about archived movies, those that stay plain, and those that failed."""
    ratio = ingest["stored_bytes"] / ingest["original_bytes"] if ingest["original_bytes"] else None
    lines = [
        f"archived since mounting: {counted(ingest['ingested'], 'movie')}, {size_text(ingest['original_bytes'])} -> "
        f"{size_text(ingest['stored_bytes'])} ({percent(ratio)}), {size_text(ingest['saved_bytes'])} saved"
    ]
    for name, text in (("kept_plain", "kept plain"), ("failed", "failed")):
        if count := ingest[name]:
            lines.append(f"{text}: {count}")
            lines += [f"    {line}" for line in ingest[f"{name}_names"]]
    if ingest["last_error"]:
        lines.append(f"last error: {ingest['last_error']}")
    return lines


def waiting_lines(ingest: dict[str, Any], title: str = "waiting") -> list[str]:
    """Return lines about the movies that wait, by reason, with the names of those that need attention."""
    if not ingest["waiting_files"]:
        return []
    total = counted(ingest["waiting_files"], "movie")
    age = duration_text(ingest["oldest_seconds"])
    lines = [f"{title}: {total}, {size_text(ingest['waiting_bytes'])}, the oldest for {age}"]
    for reason, figures in ingest["waiting"].items():
        if figures["files"]:
            age = duration_text(figures["oldest_seconds"])
            lines.append(f"  {figures['files']} {_REASONS[reason]} ({size_text(figures['bytes'])}, {age})")
            lines += [f"    {name}" for name in figures.get("names", [])]
    return lines


def waiting_text(ingest: dict[str, Any]) -> str:
    """Return how many movies are archived, and how many wait for what, as one line."""
    counts = [f"{found['files']} {_REASONS[reason]}" for reason, found in ingest["waiting"].items() if found["files"]]
    waiting = f"{counted(ingest['waiting_files'], 'movie')} left: {', '.join(counts)}" if counts else "none left"
    if ingest["searching"]:
        waiting += "; the archive is being searched for more"
    return f"{counted(ingest['ingested'], 'movie')} archived since mounting, {waiting}"
