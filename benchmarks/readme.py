"""Draw the tables of README.md from weight cards, results and executed notebooks; ``--check`` only compares."""

from __future__ import annotations

import argparse
import base64
import io
import json
import re
import sys
from pathlib import Path

import bench_tables
import learned_training
import matplotlib.pyplot as plt
import robustness
import targets
from PIL import Image

from aelib import benchmark, plots, storage, tables, zoo

ROOT = Path(__file__).parent.parent
FIGURES = ROOT / "results" / "figures"
FIGURE_WIDTH = 480
TITLES = {"mnist": "MNIST", "cifar10": "CIFAR-10"}
MATCHED_BYTES = {"mnist": (8, 16, 32, 64, 128), "cifar10": (16, 32, 64, 128, 256)}
INTERVALS = {"mnist": (0.0, 99.0), "cifar10": (22.0, 36.0)}  # dB, for BD-rates


def notebooks() -> list[Path]:
    """Return the numbered notebooks in order."""
    return sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def notebook_table() -> str:
    """Return the table of notebooks: question, run time, figure."""
    times = json.loads((ROOT / "results" / "notebooks.json").read_text(encoding="utf-8"))
    seconds, cpus = times["seconds"], times["cpu_count"]
    rows = [f"| notebook | its question | run time, {cpus} CPU cores | figure |", "|---|---|---|---|"]
    for file in notebooks():
        first = "".join(json.loads(file.read_text(encoding="utf-8"))["cells"][0]["source"])
        title = re.match(r"# (?:\d+ · )?(.+)", first)
        if title is None:
            raise ValueError(f"expected the question as the title of {file.name}, got {first[:80]!r}")
        link = f"[{file.stem}](notebooks/{file.name})"
        taken = f"{seconds[file.stem]:.0f} s" if file.stem in seconds else "not measured"
        figure = f'<img src="results/figures/{file.stem}.png" width="240" alt="A figure of notebook {file.stem}">'
        rows.append(f"| {link} | {title[1].strip()} | {taken} | {figure} |")
    return "\n".join(rows)


def zoo_table(dataset: str) -> str:
    """Return mean PSNR by method and K, and what the shipped weights of each network cost coded and on disk."""
    methods = tables.read_sizes(ROOT / "results" / "ladder.json", dataset)
    sizes = sorted(methods["PCA"])
    count = zoo.card(zoo.names(dataset)[0]).test["images"]
    title = f"{TITLES[dataset]}, mean PSNR in dB of {count:,} test images"
    measured = json.loads((ROOT / "results" / "entropy.json").read_text(encoding="utf-8"))["rows"]
    coded = {row["model"]: row for row in measured}
    rows = []
    for architecture in ("conv", "residual"):
        cards = {size: zoo.card(zoo.model_name(dataset, architecture, size)) for size in methods.get(architecture, {})}
        if not all(card.name in coded for card in cards.values()) or not cards:
            continue  # `make peers` has not measured them yet
        for label, cell in (
            ("coded, dB", lambda card: f"{card.test['mean_psnr'] - coded[card.name]['psnr_loss_db']:.2f}"),
            ("coded, bytes", lambda card: f"{coded[card.name]['bytes'] + 1:.1f}"),
            ("kB on disk", lambda card: f"{(zoo.WEIGHTS / f'{card.name}.safetensors').stat().st_size / 1000:.0f}"),
        ):
            cells = [cell(cards[size]) if size in cards else "-" for size in sizes]
            rows.append([f"{architecture}, {label}", *cells])
    costs = tables.markdown(["quantised and coded; weights", *(f"K = {size}" for size in sizes)], rows)
    return tables.by_size(methods, title=title) + "\n\n" + costs


def results_tables(dataset: str) -> str:
    """Return the comparison of all codecs: mean PSNR at equal bytes and BD-rates, in the three accountings."""
    results = benchmark.read_folder(ROOT / "results", dataset)
    count = next(iter(results.values()))[0].images
    title = f"{TITLES[dataset]}, {count:,} test images"
    low, high = INTERVALS[dataset]
    plain = {series: points for series, points in results.items() if not series.startswith("learned")}
    return "\n\n".join(
        [
            # The slow search was measured round one rate alone, see `learned_table`.
            tables.matched(
                {k: v for k, v in results.items() if k != "learned-best"}, MATCHED_BYTES[dataset], title=title
            ),
            tables.passed(plain, title=title),
            tables.bjontegaard(plain, ["JPEG", "AVIF"], title=title, low=low, high=high),
            tables.floor(results),
        ]
    )


def learned_table(dataset: str) -> str:
    """Return the learned codec's BD-rates, by effort, and how its weights were trained."""
    results = benchmark.read_folder(ROOT / "results", dataset)
    title = f"{TITLES[dataset]}, {results['learned'][0].images:,} test images"
    low, high = INTERVALS[dataset]
    other = tables.read_published(ROOT / "results" / "published.json") if dataset == "cifar10" else None
    own = [benchmark.codec_of(series) for series in ("learned", "learned-slow")]
    parts = [
        tables.bjontegaard(results, ["JPEG", "AVIF"], title=title, codec=codec, low=low, high=high, published=other)
        for codec in own
    ]
    card = zoo.learned_card(dataset)
    recipe, size = card["recipe"], (zoo.WEIGHTS / f"{dataset}-learned.safetensors").stat().st_size
    text = (
        f"{card['parameters'] / 1e6:.2f} million parameters, {size / 1e6:.1f} MB on disk; trained in "
        f"{card['seconds'] / 60:.0f} minutes ({card['hardware']}), {recipe['steps']:,} steps of "
        f"{recipe['batch_size']} images"
    )
    for run in reversed(learned_training.runs(card)[:-1]):
        about = [f"{run['seconds'] / 60:.0f} minutes", *(run[key] for key in ("hardware", "remark") if key in run)]
        settings = run["settings"]
        text += f", after {settings['steps']:,} steps of {settings['batch_size']} ({'; '.join(about)})"
    parts.append(text + ".")
    return "\n\n".join(parts)


def throughput_table() -> str:
    """Return images a second of the learned codec beside JPEG and AVIF."""
    stored = json.loads((ROOT / "results" / "throughput.json").read_text(encoding="utf-8"))
    rows = [
        [
            row["codec"],
            f"{row['bytes']:.0f} B",
            f"{row['encode_images_per_second']:,.0f}",
            f"{row['decode_images_per_second']:,.0f}",
        ]
        for row in stored["rows"]
    ]
    head = [f"CIFAR-10, {stored['hardware']}", "an image", "encoded a second", "decoded a second"]
    return tables.markdown(head, rows)


def photograph_table() -> str:
    """Return the learned codec's BD-rates on photographs, whole files."""
    stored = json.loads((ROOT / "results" / "photographs.json").read_text(encoding="utf-8"))
    names = list(stored["rows"][0]["bd_rate"])
    rows = []
    for row in stored["rows"]:
        deltas = [row["bd_rate"][name] for name in names]
        cells = [f"{one['percent']:+.0f} %, {one['low_db']:.0f} to {one['high_db']:.0f} dB" for one in deltas]
        rows.append([f"{row['picture']}, {row['width']}x{row['height']}", *cells])
    ahead = [sum(row["bd_rate"][name]["percent"] < 0 for row in stored["rows"]) for name in names]
    said = ", ".join(f"{name} on {count}" for name, count in zip(names, ahead, strict=True))
    table = tables.markdown(["photograph, whole files: BD-rate, mean over", *names], rows)
    return f"{table}\n\nFewer bytes at equal quality, of {len(rows)} photographs: {said}."


def learned_ablation_table() -> str:
    """Return what each part of the learned codec changes in rate at equal quality."""
    stored = json.loads((ROOT / "results" / "learned_ablation.json").read_text(encoding="utf-8"))
    rows = [
        [row["label"], f"{row['bd_rate']['percent']:+.1f} %" if "bd_rate" in row else "0"] for row in stored["rows"]
    ]
    return tables.markdown([f"learned codec, {stored['images']}", "rate at equal quality"], rows)


def ablation_table() -> str:
    """Return what each part of the residual autoencoder and of its training bought."""
    file = ROOT / "results" / "ablation.json"
    if not file.is_file():
        return "Not measured yet."
    stored = json.loads(file.read_text(encoding="utf-8"))
    base = stored["rows"][0]["mean_psnr"]
    rows = [
        [row["row"], f"{row['mean_psnr']:.2f}", f"{row['mean_psnr'] - base:+.2f}", f"{row['parameters'] / 1e6:.2f}"]
        for row in stored["rows"]
    ]
    title = (
        f"residual, K = {stored['latent_dim']}, {stored['epochs']} epochs of {stored['trained_on']:,} images of "
        f"CIFAR-10, measured on {stored['images']:,} of the validation split"
    )
    return tables.markdown([title, "mean PSNR, dB", "difference", "million parameters"], rows)


def coder_table() -> str:
    """Return what the entropy coders waste and how fast they are, measured in one run."""
    stored = json.loads((ROOT / "results" / "entropy.json").read_text(encoding="utf-8"))
    own = next(row for row in stored["rows"] if row["model"] == "cifar10-conv-64")
    worst = max(row["bytes_over_shannon"] for row in stored["rows"])
    slowest = min(row["encode_symbols_per_second"] for row in stored["rows"])
    measured = [("`aelib.entropy`, integer numpy over all images at once", own, "wherever numpy is")]
    if peer := stored.get("constriction"):  # not installed everywhere
        label = f"constriction {peer['version']}, range coder, a call an image"
        measured.append((label, peer, "no wheels for Linux aarch64"))
        trimmed = {"bytes_over_shannon": peer["trimmed_bytes_over_shannon"]}
        measured.append(("the same, bytes that zeros can stand in for left off", trimmed, "as above"))
    rows = [
        [name, f"{row['bytes_over_shannon']:.2f} B", _speed(row.get("encode_symbols_per_second")), where]
        for name, row, where in measured
    ]
    head = ["CIFAR-10, K = 64, one stream an image", "over Shannon", "symbols encoded", "platforms"]
    speed = f"at least {slowest / 1e6:.2f} M symbols a second"
    note = f"Over {len(stored['rows'])} models at most {worst:.2f} B over Shannon and {speed}."
    return tables.markdown(head, rows) + "\n\n" + note


def _speed(symbols_per_second: float | None) -> str:
    return "not timed" if symbols_per_second is None else f"{symbols_per_second / 1e6:.2f} M/s"


def avif_note() -> str:
    """Return what AVIF's other speeds and its default tuning change."""
    stored = json.loads((ROOT / "results" / "avif.json").read_text(encoding="utf-8"))
    used, *others = stored["rows"]
    found = [
        f"speed {row['speed']}, tuned for {row['tune']}, {row['bd_rate_percent']:+.1f} % "
        f"({row['milliseconds_per_image']:.0f} ms an image)"
        for row in others
    ]
    low, high = (max(row["interval_db"][0] for row in others), min(row["interval_db"][1] for row in others))
    taken, count = used["milliseconds_per_image"], stored["images"]
    return (
        f"AVIF ran at speed {used['speed']}, tuned for {used['tune']}, {taken:.0f} ms an image. BD-rate of other "
        f"settings against that, payloads of {count} CIFAR-10 test images, {low:.0f} to {high:.0f} dB: "
        f"{'; '.join(found)}."
    )


def write_curves(dataset: str) -> None:
    """Draw the convex hulls of all codecs, one panel an accounting."""
    results = benchmark.read_folder(ROOT / "results", dataset)
    count = next(iter(results.values()))[0].images
    _, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained", sharey=True)
    for axis, (accounting, label) in zip(axes, tables.ACCOUNTING_TITLES.items(), strict=True):
        title = f"{label}, {TITLES[dataset]}, {count:,} test images"
        curves = benchmark.hulls(results, accounting)
        plots.rate_distortion(curves, quality="mean PSNR (dB)", title=title, axis=axis).set_xscale("log")
    storage.write_whole(FIGURES / f"rate_distortion_{dataset}.png", plots.to_png(axes[0]))


def write_sizes() -> None:
    """Draw quality by bottleneck size: PSNR on digits, on photographs, and there the lead over PCA."""
    found = {dataset: tables.read_sizes(ROOT / "results" / "ladder.json", dataset) for dataset in TITLES}
    count = json.loads((ROOT / "results" / "ladder.json").read_text(encoding="utf-8"))["images"]
    _, axes = plt.subplots(1, 3, figsize=(15, 4.2), layout="constrained")
    for axis, dataset in zip(axes, found, strict=False):
        plots.quality_by_size(found[dataset], title=f"{TITLES[dataset]}, {count:,} test images", axis=axis)
    lead = {
        method: {size: value - found["cifar10"]["PCA"][size] for size, value in row.items()}
        for method, row in found["cifar10"].items()
        if method != "dense"
    }
    title = f"{TITLES['cifar10']}, {count:,} test images, lead over PCA"
    axis = plots.quality_by_size(lead, title=title, axis=axes[2])
    axis.set_ylabel("lead over PCA (dB)")
    storage.write_whole(FIGURES / "ladder.png", plots.to_png(axis))


def blocks() -> dict[str, str]:
    """Return what stands between the markers of README.md."""
    drawn = {"notebooks": notebook_table(), "coder": coder_table(), "avif": avif_note()}
    drawn |= bench_tables.blocks() | robustness.blocks()
    drawn |= {
        "targets": targets.table(),
        "throughput": throughput_table(),
        "photographs": photograph_table(),
        "learned-ablation": learned_ablation_table(),
        "ablation": ablation_table(),
        "ladder-targets": targets.ladder_table(),
    }
    for dataset in TITLES:
        drawn[f"{dataset}-learned"] = learned_table(dataset)
        drawn |= {dataset: zoo_table(dataset), f"{dataset}-results": results_tables(dataset)}
    return drawn


def filled(readme: str) -> str:
    """Return the text of README.md with every block drawn anew."""
    for name, table in blocks().items():
        pattern = re.compile(rf"(<!-- {name}:begin -->\n).*?(<!-- {name}:end -->)", re.DOTALL)
        if len(pattern.findall(readme)) != 1:
            raise ValueError(f"expected one block between <!-- {name}:begin --> and <!-- {name}:end --> in README.md")
        readme = pattern.sub(lambda found, table=table: found[1] + table + "\n" + found[2], readme)
    return readme


def write_figures() -> None:
    """Write one small figure per notebook: the output of the cell tagged ``readme``, else the last picture."""
    for file in notebooks():
        pictures, tagged = [], []
        for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
            for output in cell.get("outputs", []):
                if encoded := output.get("data", {}).get("image/png"):
                    pictures.append(encoded)
                    tagged += [encoded] if "readme" in cell["metadata"].get("tags", []) else []
        if not pictures:
            raise ValueError(f"expected executed figures in {file.name}, got none; run make notebooks first")
        picture = Image.open(io.BytesIO(base64.b64decode("".join((tagged or pictures)[-1])))).convert("RGB")
        picture.thumbnail((FIGURE_WIDTH, 10 * FIGURE_WIDTH))
        # The default, median cut, spends its colours on greys, and thin lines lose theirs.
        picture.quantize(method=Image.Quantize.FASTOCTREE).save(buffer := io.BytesIO(), "PNG", optimize=True)
        storage.write_whole(FIGURES / f"{file.stem}.png", buffer.getvalue())


def main() -> int:
    """Rewrite README.md and its figures, or compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail if README.md is not up to date")
    check = parser.parse_args().check
    readme = ROOT / "README.md"
    old = readme.read_text(encoding="utf-8")
    new = filled(old)
    if check:
        if new != old:
            print("README.md is not what `make readme` draws", file=sys.stderr)
        return int(new != old)
    write_figures()
    for dataset in TITLES:
        write_curves(dataset)
    write_sizes()
    storage.write_whole(readme, new.encode())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
