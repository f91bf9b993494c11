#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes src/redis_commands.def, src/redis_slots.def, src/redis_categories.def and docs/commands.md from data/commands.json, src/redis_overrides.def and
src/redis_differences.def.

commands.json holds what the servers say of their own commands: arity, flags, where the keys lie. What the proxy makes
of each of them (its class) is decided here, by rule; what no rule can know stands in redis_overrides.def, whose rows
win. With --check nothing is written; the exit code says whether the files are what would be written."""
import argparse
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SRC = ROOT / "src"

# What the proxy does with each command that is not simply forwarded by its keys: class, and commands.
# The classes are explained in src/redis_classes.def.
CLASSES = {
    # Split by server, replies joined.
    "MGET": "MGET",
    "MSET": "MSET",
    "SUM": "DEL; UNLINK; TOUCH; EXISTS",
    "STREAMS": "XREAD; XREADGROUP",
    # For all servers, replies joined.
    "TOTAL": """DBSIZE; SLOWLOG LEN; LATENCY RESET""",
    "CONCAT": """KEYS; SLOWLOG GET; LATENCY LATEST; LATENCY HISTORY""",
    "PAIRS": "PUBSUB NUMSUB; PUBSUB SHARDNUMSUB",
    "AND": "SCRIPT EXISTS",
    "LEAST": "LASTSAVE",
    "MOST": "PUBSUB NUMPAT",
    "UNION": "PUBSUB CHANNELS; PUBSUB SHARDCHANNELS",
    "ALL_OK": """FUNCTION LOAD; FUNCTION DELETE; FUNCTION FLUSH; FUNCTION RESTORE;
        SLOWLOG RESET; MEMORY PURGE""",
    "SCRIPT_LOAD": "SCRIPT LOAD",
    "SCRIPT_FLUSH": "SCRIPT FLUSH",
    "CALL": "EVALSHA; EVALSHA_RO",
    "ONE_OK": "SCRIPT KILL; FUNCTION KILL",
    "PICK": "RANDOMKEY",
    "FLUSH": "FLUSHALL; FLUSHDB; SFLUSH",
    # They change the servers themselves.
    "ADMIN": """CONFIG SET; CONFIG RESETSTAT; CONFIG REWRITE; ACL SETUSER; ACL DELUSER; ACL SAVE; BGSAVE;
        BGREWRITEAOF""",
    "SCAN": "SCAN",
    # No key, harmless, the same on every server or of interest for one: sent to one of them, always the same.
    "ANY": """LOLWUT; OBJECT HELP; XGROUP HELP; XINFO HELP; ACL HELP; ACL CAT; ACL GENPASS; ACL WHOAMI; CLIENT HELP;
        CLUSTER HELP; COMMAND COUNT; COMMAND DOCS; COMMAND GETKEYS; COMMAND GETKEYSANDFLAGS; COMMAND HELP; COMMAND INFO;
        COMMAND LIST; CONFIG HELP; FUNCTION HELP; FUNCTION LIST; FUNCTION DUMP; FUNCTION STATS; LATENCY HELP;
        LATENCY DOCTOR; LATENCY GRAPH; LATENCY HISTOGRAM; MEMORY HELP; MEMORY DOCTOR; MEMORY STATS; MEMORY MALLOC-STATS;
        MODULE HELP; PUBSUB HELP; SCRIPT HELP; SCRIPT SHOW; SLOWLOG HELP""",
    # Answered here.
    "PING": "PING", "ECHO": "ECHO", "QUIT": "QUIT", "SELECT": "SELECT", "AUTH": "AUTH", "RESET": "RESET",
    "ROLE": "ROLE", "HELLO": "HELLO", "TIME": "TIME", "INFO": "INFO", "CONFIG_GET": "CONFIG GET",
    "CLIENT_ID": "CLIENT ID", "CLIENT_GETNAME": "CLIENT GETNAME", "CLIENT_SETNAME": "CLIENT SETNAME",
    "CLIENT_SETINFO": "CLIENT SETINFO", "CLIENT_INFO": "CLIENT INFO", "CLIENT_LIST": "CLIENT LIST",
    "CLIENT_NO_EVICT": "CLIENT NO-EVICT", "CLIENT_NO_TOUCH": "CLIENT NO-TOUCH", "CLIENT_REPLY": "CLIENT REPLY",
    "CLIENT_CAPA": "CLIENT CAPA", "CLIENT_UNPAUSE": "CLIENT UNPAUSE", "CLIENT_UNBLOCK": "CLIENT UNBLOCK",
    "CLIENT_TRACKING": "CLIENT TRACKING", "CLIENT_CACHING": "CLIENT CACHING",
    "CLIENT_GETREDIR": "CLIENT GETREDIR", "CLIENT_TRACKINGINFO": "CLIENT TRACKINGINFO",
    "NO_CLUSTER": "ASKING; READONLY; READWRITE",
    # On connections of the client's own.
    "WAIT": "WAIT", "WAITAOF": "WAITAOF",
    # Would harm a server or its other clients, or can mean nothing behind a proxy.
    "REFUSED": """SHUTDOWN; REPLICAOF; SLAVEOF; REPLCONF; PSYNC; SYNC; FAILOVER; DEBUG; MIGRATE; SWAPDB; MOVE; SAVE;
        PFDEBUG; PFSELFTEST; RESTORE-ASKING; MODULE LOAD; MODULE LOADEX; MODULE UNLOAD; MODULE LIST; ACL LOAD; ACL LOG;
        ACL LIST; ACL USERS; ACL GETUSER; ACL DRYRUN; CLIENT KILL; CLIENT PAUSE; SCRIPT DEBUG; MONITOR""",
}


CLASS_OF = {name.strip(): kind for kind, names in CLASSES.items() for name in names.split(";")}
# May block only when asked to (BLOCK), which is seen in the arguments.
BLOCK_OPTION = {"XREAD", "XREADGROUP"}
# Of the others, those whose first word says how long; else the last one does.
TIMEOUT_FIRST = {"BLMPOP", "BZMPOP"}
PUBSUB = {"SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE"}
TRANSACTION = {"MULTI", "EXEC", "DISCARD", "WATCH", "UNWATCH"}

# The look-up: names in lower case as 8-byte little-endian words, the last padded with zeros.
MULTIPLIER = 0x9E3779B97F4A7C15
SLOT_BITS = 10
NAME_MAX = 39

ROW = re.compile(r'^(COMMAND|SUBCOMMAND)\("([^"]+)", (-?\d+), ([A-Z_]+), (READ|WRITE), (.*)\)$')


def key_part(spec, name):
    """One key spec of the data as the text of a KEYS column, or None where the data does not know."""
    begin, find = spec["begin"], spec["find"]
    if begin == "unknown":
        # Only SORT's: STORE, and the patterns of BY and GET, which name no key.
        return "STORE(2)" if "update" in spec["flags"] else None
    if "keyword" in begin:
        if begin["keyword"] == "STREAMS":
            return "STREAMS"
        if begin["keyword"] in ("STORE", "STOREDIST"):
            return "STORE(%d)" % begin["start"]
        raise ValueError(name + ": unknown keyword")
    first = begin["index"]
    if "keynum" in find:
        at, key, step = find["keynum"]
        if key != at + 1:
            raise ValueError(name + ": keys that do not follow their number")
        return "NUMKEYS(%d, %d)" % (first + at, step)
    last, step, limit = find["range"]
    if limit:
        raise ValueError(name + ": a range with a limit")
    return "RANGE(%d, %d, %d)" % (first, first + last if last >= 0 else last, step)


def key_columns(name, keys):
    parts = []
    for spec in keys:
        part = key_part(spec, name)
        if part and part not in parts:
            parts.append(part)
    if len(parts) > 2:
        raise ValueError(name + ": more than two places of keys")
    return ", ".join((parts + ["NONE", "NONE"])[:2])


def class_of(name, entry, containers):
    if name in containers:
        return "CONTAINER"
    if "blocking" in entry["flags"] and name not in BLOCK_OPTION and entry["keys"]:
        return "BLOCK_FIRST" if name in TIMEOUT_FIRST else "BLOCK_LAST"
    if name in TRANSACTION or name in PUBSUB:
        return name
    if name in CLASS_OF:
        return CLASS_OF[name]
    if name.split()[0] == "SENTINEL":
        return "REFUSED"
    if name.split()[0] == "CLUSTER":
        return "NO_CLUSTER"
    if not entry["keys"]:
        return "LATER"
    return "FORWARD"


def row_of(name, entry, kind):
    macro = "SUBCOMMAND" if " " in name else "COMMAND"
    flags = set(entry["flags"])
    writes = "write" in flags or ("may_replicate" in flags and "readonly" not in flags)
    keys = "NONE, NONE"
    if kind in ("FORWARD", "CALL", "MGET", "MSET", "SUM", "STREAMS", "WATCH", "BLOCK_FIRST", "BLOCK_LAST"):
        keys = key_columns(name, entry["keys"])
    text = name.lower().replace(" ", "|")
    if len(text) > NAME_MAX:
        raise ValueError(name + ": name too long")
    return '%s("%s", %d, %s, %s, %s)' % (macro, text, entry["arity"], kind, "WRITE" if writes else "READ", keys)


def generated_rows(data, taken):
    """The rows of all commands but `taken`."""
    subs = {n: e for n, e in data.items() if " " in n}
    containers = {n.split()[0] for n in subs} - {"SENTINEL"}
    rows = []
    for name in sorted(data):
        if name.lower().replace(" ", "|") in taken:
            continue
        rows.append(row_of(name, data[name], class_of(name, data[name], containers)))
    return rows


def hash_of(name):
    raw = name.encode()
    h = 0
    for i in range(0, len(raw), 8):
        word = int.from_bytes(raw[i : i + 8].ljust(8, b"\0"), "little")
        h = ((h ^ word) * MULTIPLIER) & (2**64 - 1)
    return h >> (64 - SLOT_BITS)


def slots_of(names):
    """Open addressing: the number of a row plus one, 0 where none is."""
    slots = [0] * (1 << SLOT_BITS)
    for number, name in enumerate(names):
        at = hash_of(name)
        while slots[at]:
            at = (at + 1) % len(slots)
        slots[at] = number + 1
    return slots


def read_overrides(text):
    rows = []
    for line in text.splitlines():
        if line.startswith(("COMMAND", "SUBCOMMAND")):
            if not ROW.match(line):
                sys.exit("redis_overrides.def: not a row: " + line)
            rows.append(line)
    return rows


CLASS_ROW = re.compile(r'^CLASS\((\w+), (\w+), "(.*)"\)$')


def read_classes():
    """Class: its way, and its text."""
    text = (SRC / "redis_classes.def").read_text()
    matches = [CLASS_ROW.match(line) for line in text.splitlines() if line.startswith("CLASS(")]
    return {m.group(1): (m.group(2), m.group(3)) for m in matches}


WAYS = {
    "FORWARD": "forwarded",
    "SPLIT": "split",
    "BROADCAST": "all servers",
    "CURSOR": "all servers in turn",
    "SINGLE": "one server",
    "LOCAL": "local",
    "TELL": "local",
    "TRANSACTION": "transaction",
    "BLOCK": "blocking",
    "WAIT": "blocking",
    "ASIDE": "all servers",
    "PUBSUB": "publish/subscribe",
    "SESSION": "unknown",
    "REFUSE": "refused",
}


def how(kind, keys, classes):
    if keys == "RANGE(1, 1, 1), NONE" and kind == "FORWARD":
        return "to the server of its key"
    return classes[kind][1]


DIFFERENCE_ROW = re.compile(r'^DIFFERENCE\("([^"]+)", (ALWAYS|SEVERAL), "(.*)"\)$')


def read_differences(names):
    """Command: in what its reply differs from that of one server."""
    texts = {}
    for line in (SRC / "redis_differences.def").read_text().splitlines():
        if not line.startswith("DIFFERENCE"):
            continue
        match = DIFFERENCE_ROW.match(line)
        if not match or match.group(1) not in names or match.group(1) in texts:
            sys.exit("redis_differences.def: not a row, or not of a command, or its second: " + line)
        texts[match.group(1)] = ("before several servers: " if match.group(2) == "SEVERAL" else "") + match.group(3)
    return texts


def document(rows):
    """docs/commands.md: for every row what becomes of it."""
    classes = read_classes()
    page = (ROOT / "docs" / "commands.md").read_text()
    begin, end = "<!-- begin commands -->\n", "<!-- end -->"
    head, rest = page.split(begin)
    tail = rest.split(end)[1]
    matches = sorted((ROW.match(r) for r in rows), key=lambda m: m.group(2))
    differences = read_differences([m.group(2) for m in matches])
    lines = ["| command | what becomes of it | how | in what it differs from one server |", "|---|---|---|---|"]
    for m in matches:
        kind = m.group(4)
        if kind != "CONTAINER":
            lines.append("| `%s` | %s | %s | %s |" % (m.group(2).upper().replace("|", " "), WAYS[classes[kind][0]],
                                                      how(kind, m.group(6), classes), differences.get(m.group(2), "")))
    return head + begin + "\n".join(lines) + "\n" + end + tail


MODULES = {"json.": "json", "bf.": "bloom", "cf.": "cuckoo", "cms.": "cms", "topk.": "topk", "tdigest.": "tdigest",
           "ts.": "timeseries", "ft.": "search", "v": "vectorset"}


def categories_of(row, data):
    """The categories of a row, as the servers derive them from a command's flags."""
    match = ROW.match(row)
    name, writes = match.group(2), match.group(5) == "WRITE"
    entry = data.get(name.upper().replace("|", " "))
    if entry is None:
        found = {"write" if writes else "read"}
        module = [c for prefix, c in MODULES.items() if name.startswith(prefix) and (prefix != "v" or "." not in name)]
        return found | set(module[:1])
    flags, found = set(entry["flags"]), set(entry["acl"])
    group = {"sorted_set": "sortedset", "transactions": "transaction"}.get(entry["group"], entry["group"])
    if group in ("string", "list", "set", "sortedset", "hash", "bitmap", "hyperloglog", "geo", "stream", "pubsub",
                 "connection", "transaction", "scripting"):
        found.add(group)
    found |= {c for c in ("write", "admin", "blocking", "pubsub") if c in flags}
    if "readonly" in flags and "scripting" not in found:
        found.add("read")
    if "admin" in flags:
        found.add("dangerous")
    found.add("fast" if "fast" in flags else "slow")
    return found


def categories(rows, data):
    """src/redis_categories.def"""
    of_rows = [categories_of(row, data) for row in rows]
    names = sorted(set().union(*of_rows))
    lines = ['CATEGORY("%s")' % name for name in names]
    for found in of_rows:
        lines.append("MEMBER(0x%xu)" % sum(1 << names.index(c) for c in found))
    return "\n".join(lines) + "\n"


def build():
    data = json.loads((ROOT / "data" / "commands.json").read_text())
    overrides = read_overrides((SRC / "redis_overrides.def").read_text())
    taken = {ROW.match(r).group(2) for r in overrides}
    rows = generated_rows(data, taken)
    names = [ROW.match(r).group(2) for r in overrides + rows]
    if len(set(names)) != len(names):
        sys.exit("a name stands in two rows")
    head = "/* SPDX-License-Identifier: BSD-3-Clause */\n"
    commands = (
        head
        + "/* Made by scripts/gen-commands.py from data/commands.json: do not edit. Commands of redis and valkey; the columns\n"
        + " * are explained in redis_overrides.def, whose rows come first and win. */\n"
        + "\n".join(rows)
        + "\n"
    )
    slots = slots_of(names)
    lines = [", ".join(map(str, slots[i : i + 16])) + "," for i in range(0, len(slots), 16)]
    table = (
        head
        + "/* Made by scripts/gen-commands.py: do not edit. Open addressing over the rows of redis_overrides.def and\n"
        + " * redis_commands.def, in that order: row number plus one, 0 where none is. */\n"
        + "\n".join(lines)
        + "\n"
    )
    return {
        SRC / "redis_commands.def": commands,
        SRC / "redis_slots.def": table,
        SRC / "redis_categories.def": head
        + "/* Made by scripts/gen-commands.py: do not edit. CATEGORY(name): the categories of commands, without their @.\n"
        + " * MEMBER(mask): those of a command, by bits, in the order of the rows of redis_overrides.def, then\n"
        + " * redis_commands.def. */\n"
        + categories(overrides + rows, data),
        ROOT / "docs" / "commands.md": document(overrides + rows),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the files are not up to date")
    stale = []
    options = parser.parse_args()
    for path, text in build().items():
        if not path.exists() or path.read_text() != text:
            stale.append(path.name)
            if not options.check:
                path.write_text(text)
    if options.check and stale:
        sys.exit("not up to date, run scripts/gen-commands.py: " + ", ".join(stale))


if __name__ == "__main__":
    main()
