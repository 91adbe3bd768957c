"""A second verifier of traces, written from docs/trace-format.md alone: standard library only, at most 100 lines.

It checks what the format promises about bytes: every line, link, number, the seal of ``closed``, and every file. It
knows no event schema beyond the members that name something. ``python independent_verifier.py TRACE`` exits 0 or 1.
"""

import hashlib
import json
import os
import re
import sys

LINE = re.compile(rb'\{"prev":"(\w{64})","seq":(\d+),"at":"([0-9T:.-]{26}Z)","payload":(\{.*\})\}')
SEAL = re.compile(rb'"payload_head":"([0-9a-f]{64})",')
EVENTS = ["opened", "view", "reply", "call", "observation", "refusal", "egress", "note", "answer", "failure", "closed"]
MEDIA = re.compile(r"([0-9a-f]{64})\.[a-z0-9]{1,8}")


def digest(content):
    return hashlib.sha256(content).hexdigest()


def cut_short(tail):
    """Whether a tail without newline may be a line that was being written."""
    try:
        return json.JSONDecoder().raw_decode(tail.decode(errors="replace"))[1] == len(tail.decode(errors="replace"))
    except ValueError:
        return True


def check_events(content, wrong):
    *lines, tail = content.split(b"\n")
    prev, head, at, events = "0" * 64, "0" * 64, None, []
    for number, line in enumerate(lines):
        match = LINE.fullmatch(line)
        if not match:
            wrong.append(f"event {number}: form")
            return events, False
        if match[1].decode() != prev or match[2] != b"%d" % number:
            wrong.append(f"event {number}: link or number")
        try:
            payload = json.loads(match[4])
        except ValueError:
            wrong.append(f"event {number}: not JSON")
            return events, False
        if payload.get("event") not in EVENTS:
            wrong.append(f"event {number}: unknown")
        events.append(payload)
        stored = match[4]
        if payload.get("event") == "closed":
            seal = SEAL.search(stored)
            stored = SEAL.sub(b"", stored, count=1)
            if match[3] != at:
                wrong.append(f"event {number}: time")
        head = digest((head + digest(stored)).encode())
        if payload.get("event") == "closed" and (not seal or seal[1].decode() != head):
            wrong.append(f"event {number}: seal")
        prev, at = digest(line + b"\n"), match[3]
    complete = bool(events) and events[-1].get("event") == "closed"
    if any(event.get("event") == "closed" for event in events[:-1]) or (tail and (complete or not cut_short(tail))):
        wrong.append("bytes after the last line")
    return events, complete and not tail


def find_media(value):
    """Every media hash that an event names."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from [item] if key in ("media_sha256", "sha256") else find_media(item)
    elif isinstance(value, list):
        for item in value:
            yield from find_media(item)


def verify(folder):
    """What is wrong with a trace, and whether it is complete; raises FileNotFoundError where there is none."""
    wrong = [f"{name}: extra" for name in os.listdir(folder) if name not in ("manifest.json", "trace.jsonl", "media")]
    with open(os.path.join(folder, "trace.jsonl"), "rb") as file:
        events, complete = check_events(file.read(), wrong)
    with open(os.path.join(folder, "manifest.json"), "rb") as file:
        if events and events[0].get("manifest_sha256") != digest(file.read()):
            wrong.append("manifest.json: changed")
    media = os.path.join(folder, "media")
    names = set(os.listdir(media)) if os.path.isdir(media) else set()
    if complete and names != set(events[-1].get("media", ())):
        wrong.append("media: not the files that closed lists")
    for name in names:
        with open(os.path.join(media, name), "rb") as file:
            if not name.startswith(".partial-") and (not MEDIA.fullmatch(name) or digest(file.read()) != name[:64]):
                wrong.append(f"media/{name}: changed")
    named = {sha for event in events if event.get("event") != "call" for sha in find_media(event)}
    wrong += [f"media/{sha}: missing" for sha in named - {name[:64] for name in names}]
    return wrong, complete


if __name__ == "__main__":
    found = verify(sys.argv[1])[0]
    sys.stdout.write("\n".join(found) + "\n" if found else "intact\n")
    sys.exit(1 if found else 0)
