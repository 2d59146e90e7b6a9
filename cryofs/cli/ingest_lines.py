"""Lines about what becomes of the movies that programs wrote through a mount."""

from typing import Any

from cryofs.text import duration_text, percent, size_text

# what movies wait for, by the reason in the figures of a mount
_REASONS = {
    "settling": "changed recently",
    "gain": "wait for a gain reference",
    "open": "open for writing",
    "unfinished": "incomplete by their header",
    "retry": "to be tried again",
    "ingesting": "being archived",
}


def waiting_lines(waiting: dict[str, dict[str, Any]]) -> list[str]:
    """Return a line for each reason for which movies wait, followed by the names of movies that need attention."""
    lines = []
    for reason, figures in waiting.items():
        if figures["files"]:
            age = duration_text(figures["oldest_seconds"])
            lines.append(f"  {figures['files']} {_REASONS[reason]} ({size_text(figures['bytes'])}, {age})")
            lines += [f"    {name}" for name in figures.get("names", [])]
    return lines


def outcome_lines(ingest: dict[str, Any]) -> list[str]:
    """Return lines about archived movies, those that stay plain, those that failed, and the number of waiting ones."""
    ratio = ingest["stored_bytes"] / ingest["original_bytes"] if ingest["original_bytes"] else None
    lines = [
        f"archived since mounting: {ingest['ingested']} movies, {size_text(ingest['original_bytes'])} -> "
        f"{size_text(ingest['stored_bytes'])} ({percent(ratio)}), {size_text(ingest['saved_bytes'])} saved"
    ]
    for name, text in (("kept_plain", "kept plain"), ("failed", "failed")):
        if count := ingest[name]:
            lines.append(f"{text}: {count}")
            lines += [f"    {line}" for line in ingest[f"{name}_names"]]
    if ingest["last_error"]:
        lines.append(f"last error: {ingest['last_error']}")
    if count := ingest["waiting_files"]:
        age = duration_text(ingest["oldest_seconds"])
        lines.append(f"waiting: {count} movies, {size_text(ingest['waiting_bytes'])}, the oldest for {age}")
    return lines
