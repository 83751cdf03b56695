"""The rules of the catalogue's format: how rows are merged, and which of them count for a model."""

import fnmatch

# Geographies of inference profiles, the longest first: `us-gov.` is not `us.`.
GEOGRAPHIES = ("global", "us-gov", "apac", "us", "eu", "jp", "au", "in", "ca")


def without_geography(id_):
    for prefix in GEOGRAPHIES:
        if id_.startswith(prefix + "."):
            return prefix, id_[len(prefix) + 1:]
    return "-", id_


def merged(under, over):
    """The format's merge: objects field by field, `null` takes a value away."""
    result = dict(under)
    for key, value in over.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            below = result.get(key)
            result[key] = merged(below if isinstance(below, dict) else {}, value)
        else:
            result[key] = value
    return result


def difference(under, wanted):
    """What merged over `under` gives `wanted`."""
    result = {}
    for key in set(under) | set(wanted):
        if key not in wanted:
            result[key] = None
        elif key not in under:
            result[key] = wanted[key]
        elif under[key] != wanted[key]:
            both = isinstance(under[key], dict) and isinstance(wanted[key], dict)
            result[key] = difference(under[key], wanted[key]) if both else wanted[key]
    return result


def matching_globs(rows, base):
    globs = [key for key in rows if "*" in key and fnmatch.fnmatchcase(base, key)]
    return sorted(globs, key=lambda key: (len(key.replace("*", "")), key))


def resolve(catalogue, endpoint, id_, region=None):
    """What the catalogue says of a model, by the format's rules."""
    geography, base = without_geography(id_)
    rows, result = catalogue[endpoint], {}
    keys = matching_globs(rows, base) + [base] + ([id_] if id_ != base else [])
    for key in keys:
        row = dict(rows.get(key, {}))
        variants = row.pop("variants", {})
        result = merged(result, row)
        for variant in (geography, region):
            if variant in variants:
                result = merged(result, variants[variant])
    return result
