#!/usr/bin/env python3
"""Writes schema.json from the message schemas inside Apache Kafka's clients jar: `schema.py kafka-clients-4.1.1.jar >schema.json`.

One line a message, sorted by API key, requests before responses; only what the wire needs is kept."""
import json, re, sys, zipfile

KEPT = ["name", "type", "versions", "nullableVersions", "flexibleVersions", "taggedVersions", "tag", "default", "ignorable"]


def field(f):
    out = {k: f[k] for k in KEPT if k in f}
    out["name"] = f["name"][0].lower() + f["name"][1:]
    if "fields" in f:
        out["fields"] = [field(x) for x in f["fields"]]
    return out


def message(m):
    out = {"apiKey": m["apiKey"], "type": m["type"], "name": re.sub("(Request|Response)$", "", m["name"]),
           "validVersions": m["validVersions"], "flexibleVersions": m.get("flexibleVersions", "none"),
           "unstable": m.get("latestVersionUnstable", False), "fields": [field(f) for f in m["fields"]]}
    if "commonStructs" in m:
        out["commonStructs"] = [field(f) for f in m["commonStructs"]]
    return out


jar = zipfile.ZipFile(sys.argv[1])
found = []
for name in jar.namelist():
    if re.fullmatch(r"common/message/\w+(Request|Response)\.json", name):
        text = "\n".join(l for l in jar.read(name).decode().split("\n") if not l.strip().startswith("//"))
        m = json.loads(re.sub(r"\s//\s.*", "", text))
        if m["validVersions"] != "none":
            found.append(message(m))
found.sort(key=lambda m: (m["apiKey"], m["type"]))
print("[\n" + ",\n".join(json.dumps(m, separators=(",", ":")) for m in found) + "\n]")
