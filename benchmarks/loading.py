"""Import and loading times, each in a process of its own; the best of several.

    python benchmarks/loading.py [--runs 5] [--backends tensorflow jax torch]

What cytokeras adds is compared with what Keras itself takes in the same process: ``import keras`` for the imports; for
``from_pretrained``, building the network with random weights and reading the file with ``load_weights``.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

IMPORTS = """
import json, time
started = time.perf_counter(); import keras; keras_s = time.perf_counter() - started
started = time.perf_counter(); import cytokeras as ck; bare_s = time.perf_counter() - started
started = time.perf_counter(); ck.AtlasUNet, ck.SiameseDistanceNet; models_s = time.perf_counter() - started
print(json.dumps({"keras": keras_s, "cytokeras": bare_s, "models": bare_s + models_s}))
"""

FROM_PRETRAINED = """
import json, sys, time
import keras, cytokeras as ck
started = time.perf_counter()
getattr(ck, sys.argv[1]).from_pretrained(sys.argv[2])
print(json.dumps({"seconds": time.perf_counter() - started}))
"""

PLAIN_KERAS = """
import json, sys, time
from pathlib import Path
import keras, cytokeras as ck
cls, folder = getattr(ck, sys.argv[1]), Path(sys.argv[2])
started = time.perf_counter()
cls.from_config(json.loads((folder / "config.json").read_text())["arguments"]).load_weights(folder / "model.weights.h5")
print(json.dumps({"seconds": time.perf_counter() - started}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="processes for a number; the best counts (%(default)s)")
    parser.add_argument("--backends", nargs="+", default=["tensorflow", "jax", "torch"])
    arguments = parser.parse_args()
    backends = [name for name in arguments.backends if importlib.util.find_spec(name)]
    imports = {backend: best(IMPORTS, [], backend, arguments.runs) for backend in backends}
    print(f"{'imports, s':<34}" + "".join(f"{backend:>12}" for backend in backends))
    for label, key in (
        ("import keras", "keras"),
        ("+ import cytokeras", "cytokeras"),
        ("  with both networks", "models"),
    ):
        print(f"{label:<34}" + "".join(f"{imports[backend][key]:>12.3f}" for backend in backends))
    # Plain Keras on JAX compiles random numbers for every shape: one run is enough to see it.
    for preset in sorted((ROOT / "weights").iterdir()):
        name = json.loads((preset / "config.json").read_text())["class_name"]
        print(f"\n{preset.name + ', s':<34}" + "".join(f"{backend:>12}" for backend in backends))
        ours = {b: best(FROM_PRETRAINED, [name, preset.name], b, arguments.runs)["seconds"] for b in backends}
        runs = {b: 1 if b == "jax" else arguments.runs for b in backends}
        plain = {b: best(PLAIN_KERAS, [name, str(preset)], b, runs[b])["seconds"] for b in backends}
        print(f"{'from_pretrained':<34}" + "".join(f"{ours[b]:>12.2f}" for b in backends))
        print(f"{'build + load_weights (no checks)':<34}" + "".join(f"{plain[b]:>12.2f}" for b in backends))
        print(f"{'ratio':<34}" + "".join(f"{ours[b] / plain[b]:>12.2f}" for b in backends))


def best(code: str, arguments: list[str], backend: str, runs: int) -> dict[str, float]:
    """The smallest of every number that the code prints, over several processes."""
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    found = []
    for _ in range(runs):
        command = [sys.executable, "-c", code, *arguments]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found.append(json.loads(result.stdout.splitlines()[-1]))
    return {name: min(one[name] for one in found) for name in found[0]}


if __name__ == "__main__":
    main()
