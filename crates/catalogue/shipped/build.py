#!/usr/bin/env python3
"""Builds the shipped catalogue, `crates/catalogue/src/shipped.json`, from public sources.

Sources: the price map of the PyPI package litellm, and `own.json` beside this script: the facts that no
public file has. The output is the same for the same sources and the same date. README.md of the crate
describes the steps.
"""

import argparse
import fnmatch
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import zipfile

from format_rules import difference, matching_globs, merged, resolve
from price_map import FEATURES, number, place_of, row_of

HERE = pathlib.Path(__file__).resolve().parent
MAP_IN_WHEEL = "litellm/model_prices_and_context_window_backup.json"

# Whose facts stand for a model that has no row by its bare id.
STANDS_FOR_BARE = ("us", "global")

# The order of the fields in a row.
FIELDS = (
    "mode", "names", "profiles", "on_demand", "surfaces", "path_prefix", "max_input_tokens",
    "max_output_tokens", "min_cache_tokens", "embedding_dimensions", "features", "effort_levels",
    "burndown", "count_tokens_with", "legacy", "retires", "successor", "prices", "variants",
)
TIERS = ("standard", "flex", "priority", "batch")

PRICES = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")


def without_sources(facts):
    """Facts without the texts for people in them."""
    if not isinstance(facts, dict):
        return facts
    return {key: without_sources(value) for key, value in facts.items() if key != "_source"}


def drop_empty(row):
    return {key: value for key, value in row.items() if value not in ({}, [], None)}


def build(price_map, own, date, version):
    seen = {}
    # A second key for one place ("bedrock/ID" beside "ID") adds nothing: the plainest counts.
    for key in sorted(price_map, key=lambda key: (key.count("/"), key)):
        place = place_of(key, price_map[key])
        if place:
            endpoint, base, geography, region = place
            facts = row_of(price_map[key], endpoint, base)
            by_place = seen.setdefault((endpoint, base), {})
            by_place.setdefault((geography, region), facts)
    for endpoint, rows in own["models"].items():
        for base, row in rows.items():
            seen.setdefault((endpoint, base), {}).setdefault(("-", None), row)

    catalogue = {"format": 1, "date": date, "sources": [
        f"litellm {version} (PyPI): {MAP_IN_WHEEL}", "AWS documentation and the AWS service models"],
        "betas": own["betas"], "runtime": {}, "mantle": {}}
    for endpoint in ("runtime", "mantle"):
        rows = catalogue[endpoint]
        for glob, row in own["families"][endpoint].items():
            rows[glob] = row
        add_common_features(rows, seen, endpoint, own["common_features"][endpoint])
        families = dict(rows)
        for (where, base), places in sorted(seen.items()):
            if where == endpoint:
                rows[base] = row_with_variants(endpoint, base, places, own, families)
        add_names(rows, own["names"][endpoint])
    return catalogue


def add_common_features(rows, seen, endpoint, families):
    """States a feature that most models of a family have in the family's row."""
    for glob, names in families.items():
        members = [places for (where, base), places in seen.items()
                   if where == endpoint and fnmatch.fnmatchcase(base, glob)]
        for name in names:
            having = [it for it in members if any(
                facts.get("features", {}).get(name) for facts in it.values())]
            if 2 * len(having) > len(members):
                rows.setdefault(glob, {}).setdefault("features", {})[name] = True


def row_with_variants(endpoint, base, places, own, families):
    order = [("-", None)] + [(it, None) for it in STANDS_FOR_BARE] + sorted(places, key=str)
    row = dict(places[next(it for it in order if it in places)])
    row["features"] = dict(row.get("features", {}))
    # Only profiles state it; a model that is called by a profile has it under its bare id, too.
    if any(it["features"].get("converse_json_schema") for it in places.values()):
        row["features"]["converse_json_schema"] = True
        if ("-", None) in places:
            places = {**places, ("-", None): row}
    lifecycle = own["lifecycles"].get(base)
    lifecycle_fields = ("legacy", "retires", "successor")
    profiles = sorted({geography for geography, _ in places if geography != "-"})
    extra = {}
    for pattern, facts in own["corrections"][endpoint].items():
        if fnmatch.fnmatchcase(base, pattern):
            extra = merged(extra, facts)

    def finished(facts):
        facts = {key: value for key, value in facts.items() if key not in lifecycle_fields} \
            if lifecycle else facts
        return drop_empty(merged(facts, extra))

    base_row = finished(row)
    # The row has the prices of most places: usually those of all geographies but `global`.
    counted = [finished(facts).get("prices") for (_, region), facts in places.items() if not region]
    usual = max(counted, key=counted.count, default=None)
    if usual and counted.count(usual) > counted.count(base_row.get("prices")) + 1:
        base_row["prices"] = usual
    variants = {}
    for (geography, region), facts in sorted(places.items(), key=lambda it: (bool(it[0][1]), str(it))):
        under = merged(base_row, variants.get(geography, {})) if region else base_row
        wanted = finished(facts)
        delta = difference(under, keep_what_holds(under, wanted))
        if delta:
            variants[region or geography] = delta
    if profiles:
        base_row["profiles"] = profiles
        if not any(geography == "-" for geography, _ in places):
            base_row.setdefault("on_demand", False)
    if lifecycle:
        base_row.update(lifecycle)
    if variants:
        base_row["variants"] = variants
    stated = {name for glob in matching_globs(families, base)
              for name in own["common_features"][endpoint].get(glob, [])}
    for name in sorted(stated):
        base_row.setdefault("features", {}).setdefault(name, False)
    return without_defaults(base_row, base, families)


def keep_what_holds(under, wanted):
    """Facts of a place with those of the model that hold there although the map does not repeat them:
    what counts its tokens, and the bands of its prices, in proportion to them."""
    result = json.loads(json.dumps(wanted))
    if "count_tokens_with" in under:
        result.setdefault("count_tokens_with", under["count_tokens_with"])
    for tier, price in result.get("prices", {}).items():
        below = under.get("prices", {}).get(tier, {})
        if "above" not in below or "above" in price or not below["input"] or not below["output"]:
            continue
        factors = {round(price[key] / below[key], 6) for key in ("input", "output")}
        if len(factors) == 1:
            factor = factors.pop()
            price["above"] = {band: {key: number(value * factor / 1e6)
                                     for key, value in of_band.items()}
                              for band, of_band in below["above"].items()}
    return result


def without_defaults(row, base, families):
    """Drops what the families' rows say already, and a `false` that takes nothing away."""
    under = {}
    for glob in matching_globs(families, base):
        under = merged(under, families[glob])
    def dropped(facts, below, below_features):
        features = {name: value for name, value in facts.get("features", {}).items()
                    if not (value == below_features.get(name)
                            or (not value and not below_features.get(name)))}
        facts = {**facts, "features": features}
        facts = {key: value for key, value in facts.items()
                 if not (key in below and below[key] == value)}
        return drop_nothing_said(facts)
    result = dropped(row, under, under.get("features", {}))
    base_features = merged(under.get("features", {}), row.get("features", {}))
    variants = {name: dropped(it, {}, base_features)
                for name, it in row.get("variants", {}).items()}
    variants = {name: it for name, it in variants.items() if it}
    result.pop("variants", None)
    if variants:
        result["variants"] = variants
    return result


def drop_nothing_said(facts):
    return {key: value for key, value in facts.items() if value != {}}


def plain_names(base):
    """First-party names that an id has by itself."""
    provider, plain = base.split(".", 1)
    if provider == "anthropic":
        dated = re.sub(r"-v\d+(:\d+)?$", "", plain)
        return [dated, re.sub(r"-\d{8}$", "", dated)]
    return [re.sub(r"(-v?\d+)?:\d+$", "", plain)]


def add_names(rows, own):
    bases = [base for base in rows if "*" not in base]
    named = {}
    for base in bases:
        if base not in own and rows[base].get("mode") in ("chat", "embedding", "realtime", "rerank"):
            for name in plain_names(base):
                named.setdefault(name, set()).add(base)
    for base, names in own.items():
        for name in names:
            named[name] = {base}
    for name, owners in sorted(named.items()):
        if len(owners) == 1 and name not in rows:
            base = next(iter(owners))
            if base in rows:
                rows[base].setdefault("names", []).append(name)


# The output.

def ordered(row):
    result = {key: row[key] for key in FIELDS if key in row}
    unknown = set(row) - set(FIELDS)
    if unknown:
        raise SystemExit(f"unknown fields {sorted(unknown)}")
    if "features" in result:
        result["features"] = dict(sorted(result["features"].items()))
    if "prices" in result and result["prices"]:
        result["prices"] = {tier: ordered_price(result["prices"][tier])
                            for tier in TIERS if tier in result["prices"]}
    if "variants" in result:
        result["variants"] = {it: ordered(result["variants"][it])
                              for it in sorted(result["variants"])}
    return result


def ordered_price(price):
    if price is None:
        return None
    result = {key: price[key] for key in PRICES if key in price}
    if "above" in price:
        above = price["above"]
        result["above"] = None if above is None else {
            band: ordered_price(above[band]) for band in sorted(above, key=int)}
    return result


def text_of(catalogue):
    """The file: one row or beta flag a line."""
    line = lambda value: json.dumps(value, separators=(",", ":"))
    parts = [f'"format": {catalogue["format"]},\n"date": {line(catalogue["date"])},\n'
             f'"sources": {line(catalogue["sources"])}']
    tables = []
    for surface, flags in catalogue["betas"].items():
        lines = [f"{line(flag)}:{line(flags[flag])}" for flag in sorted(flags)]
        tables.append(f'"{surface}": {{\n' + ",\n".join(lines) + "\n}")
    parts.append('"betas": {\n' + ",\n".join(tables) + "\n}")
    for endpoint in ("runtime", "mantle"):
        rows = catalogue[endpoint]
        lines = [f"{line(key)}:{line(ordered(rows[key]))}" for key in sorted(rows)]
        parts.append(f'"{endpoint}": {{\n' + ",\n".join(lines) + "\n}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def check(text, price_map, own):
    """Errors in an output: each of the map's rows must come out of it as it went in."""
    catalogue, errors, checked = json.loads(text), [], 0
    for endpoint in ("runtime", "mantle"):
        names = {}
        for key, row in catalogue[endpoint].items():
            if "successor" in row and row["successor"] not in catalogue[endpoint]:
                errors.append(f"{endpoint} {key}: successor {row['successor']} has no row")
            if "legacy" in row and row["legacy"] >= row.get("retires", "9999"):
                errors.append(f"{endpoint} {key}: legacy after its retirement")
            for name in row.get("names", []):
                if names.setdefault(name, key) != key:
                    errors.append(f"{endpoint} {key}: {names[name]} is {name}, too")
    for key, facts in sorted(price_map.items()):
        place = place_of(key, facts)
        if not place:
            continue
        endpoint, base, geography, region = place
        plain = key.removeprefix("bedrock/")
        if region is None and plain != key and plain in price_map:
            continue
        wanted = row_of(facts, endpoint, base)
        id_ = base if geography == "-" else f"{geography}.{base}"
        found = resolve(catalogue, endpoint, id_, region)
        corrected = {}
        for pattern, correction in own["corrections"][endpoint].items():
            if fnmatch.fnmatchcase(base, pattern):
                corrected = merged(corrected, correction)
        checked += 1
        wanted = keep_what_holds(found, wanted)
        for field in ("mode", "max_input_tokens", "max_output_tokens", "min_cache_tokens",
                      "embedding_dimensions", "effort_levels", "count_tokens_with", "surfaces"):
            if field not in corrected and found.get(field) != wanted.get(field):
                errors.append(f"{key}: {field} is {found.get(field)}, not {wanted.get(field)}")
        for name in FEATURES.values():
            if name in corrected.get("features", {}) or name not in wanted["features"]:
                continue
            if name == "converse_json_schema" and geography == "-":
                continue
            if found.get("features", {}).get(name, False) != wanted["features"][name]:
                errors.append(f"{key}: feature {name} is not {wanted['features'][name]}")
        for tier in TIERS:
            mine = found.get("prices", {}).get(tier, {})
            theirs = wanted.get("prices", {}).get(tier, {})
            for name in PRICES:
                if mine.get(name) != theirs.get(name) and "prices" not in corrected:
                    errors.append(f"{key}: {tier} {name} {mine.get(name)}, not {theirs.get(name)}")
            if "above" in theirs and mine.get("above") != theirs["above"]:
                errors.append(f"{key}: {tier} bands differ")
    if checked < 400:
        errors.append(f"only {checked} rows of the map are models of Bedrock")
    return errors, checked


def map_of(version):
    """The price map in a wheel of litellm that pip downloads."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest",
                        folder, "--only-binary", ":all:", f"litellm=={version}"], check=True)
        wheel = next(pathlib.Path(folder).glob("*.whl"))
        return json.loads(zipfile.ZipFile(wheel).read(MAP_IN_WHEEL))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--litellm", required=True, metavar="VERSION",
                        help="version of litellm whose price map is read")
    parser.add_argument("--price-map", type=pathlib.Path, metavar="FILE",
                        help="that map, so that nothing is downloaded")
    parser.add_argument("--date", required=True, metavar="DAY", help="day of the facts: 2026-11-28")
    parser.add_argument("--output", type=pathlib.Path, default=HERE.parent / "src" / "shipped.json")
    options = parser.parse_args()
    if not re.match(r"^\d{4}-\d\d-\d\d$", options.date):
        parser.error(f"--date {options.date} is not a day like 2026-11-28")
    own = without_sources(json.loads((HERE / "own.json").read_text()))
    if options.price_map:
        price_map = json.loads(options.price_map.read_text())
    else:
        price_map = map_of(options.litellm)
    text = text_of(build(price_map, own, options.date, options.litellm))
    errors, checked = check(text, price_map, own)
    for error in errors:
        print(error, file=sys.stderr)
    if errors:
        raise SystemExit(f"{len(errors)} errors, nothing is written")
    options.output.write_text(text)
    print(f"{options.output}: {len(text)} bytes, {checked} rows of the map checked")


if __name__ == "__main__":
    main()
