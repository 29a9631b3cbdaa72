"""What `make bench`, `make bench-accuracy` and notebooks 05, 08 and 10 measured, in the README's sentences."""

from fer_helpers import paths


def section(name: str) -> dict | None:
    """A section of the kept bench.json; None while it wasn't measured."""
    path = paths.REFERENCE / "bench.json"
    return paths.read_json(path).get(name) if path.exists() else None


def _machine(run: dict) -> str:
    return f"{run['threads']} threads, {run['device'].replace('cpu: ', '')}"


def speed_of_search() -> str:
    """What `make bench` measured of the search for copies and of its rival, in a sentence or two."""
    found = section("copies")
    build, beside, run = found["build"], found["side_by_side"], found["run"]
    memory = [each["memory_peak_mb"] - each["memory_before_mb"] for each in build["runs"]]
    peak = max(each["memory_peak_mb"] for each in build["runs"])
    told = (
        f"From pixels to the list it takes {build['median_seconds']:.0f} seconds and {max(memory):.0f} MB, {peak:,.0f} "
        f"MB with Python, torch and the faces (median time and most memory of {len(build['runs'])} runs, "
        f"{_machine(run)}); time grows with the number of faces to the power {found['growth']['exponent']['all']}."
    )
    ours, rival = beside["ours"], beside["imagededup"]
    if isinstance(rival, str):
        return told
    return told + (
        f" Side by side on the same {beside['images']:,} pictures, {beside['planted']:,} of them made as copies: "
        f"{ours['seconds']:.0f} seconds and {ours['planted_missed']:,} missed, imagededup's PHash "
        f"{rival['seconds']:.0f} seconds and {rival['planted_missed']:,} missed, and of the {rival['pairs']:,} pairs "
        f"that it finds {rival['pairs_refused_by_pixels']:,} aren't the same picture by our comparison of pixels."
    )


def speed_lines() -> str:
    """What `make bench` measured of training, in a few lines; '' while the reference has no such measurement."""
    found = section("engine")
    if not found:
        return ""
    run, runs, turns = found["run"], found["growth"]["runs"], len(found["epoch"]["baseline"]["runs"])
    lines = [
        f"Training without validation, {run['threads']} threads ({run['device'].replace('cpu: ', '')}), each loop in "
        f"turn on the same {found['measured_faces']:,} faces, medians of {turns} turns. The layers are the "
        f"same; ours draws dropout faster (`networks.Dropout`):\n"
    ]
    for network, epoch in found["epoch"].items():
        work = found["networks"][network]
        lines.append(
            f"- {network.replace('_', '-')} network: **{epoch['ours']:,.0f} faces a second, "
            f"{epoch['usual_loop_ratio']:.1f} times the usual loop** (image files, PIL transforms, 2 workers, float32: "
            f"{epoch['usual_loop']:,.0f}) and {epoch['cached_rival_ratio']:.1f} times a loop that keeps the faces in "
            f"memory and computes in our precision, {epoch['runs'][0]['precision']} ({epoch['cached_rival']:,.0f}). "
            f"{work['share_of_product_rate']:.0%} of the machine's rate of matrix products; "
            f"{work['share_outside_forward_backward']:.0%} of the time is outside forward and backward."
        )
    lines.append(
        f"- {runs[-1]['images']:,} faces are an epoch of {runs[-1]['seconds']:.0f} seconds and "
        f"{runs[-1]['memory_peak_mb']:,.0f} MB for the whole process; time grows with the number of faces to the "
        f"power {found['growth']['exponent']['all']}."
    )
    return "\n".join(lines)


def accuracy_lines() -> str:
    """What `make bench-accuracy` and notebook 08 measured, a line a training."""
    told = {"accuracy": _accuracy, "with_copies": _with_copies}
    lines = [tell(found) for name, tell in told.items() if (found := section(name))]
    for name in ("single", "ensemble"):
        path = paths.REFERENCE / "08_record" / name / "metrics.json"
        lines += [_record(name, paths.read_json(path))] if path.exists() else []
    return "\n".join(lines)


def _record(name: str, found: dict) -> str:
    run, (low, high) = found["run"], found["test"]["accuracy_ci95"]
    return (
        f"- notebook 08, {name}, {found['weights']:,} weights, {found['epochs_seen']} epochs: "
        f"**{found['test']['accuracy']:.1%} on PrivateTest** ({low:.1%} to {high:.1%}) after "
        f"{run['seconds'] / 60:.0f} minutes of training ({_machine(run)}, {run['precision']})."
    )


def _with_copies(found: dict) -> str:
    middle, each = found["median"], " and ".join(f"{run['test']:.1%}" for run in found["runs"])
    return (
        f"- The same network on all of Training, with its copies of test faces, {found['config']['epochs']} epochs of "
        f"{found['training_faces']:,} faces: {middle['test']:.1%} on PrivateTest in {middle['seconds'] / 60:.0f} "
        f"minutes (middle of {each}). {found['told']} Compare it with published numbers alone: we know of none "
        f"that was trained without these copies."
    )


def _accuracy(found: dict) -> str:
    run, middle, both, seeds = found["run"], found["median"], found["averaged"], len(found["runs"])
    machine = f"{_machine(run)}, {found['runs'][0]['precision']}"
    told = (
        f"- {found['config']['epochs']} epochs of {found['training_faces']:,} cleaned faces: **{middle['test']:.1%} on "
        f"PrivateTest, {middle['test_7178']:.2%} on both test parts together, in {middle['seconds'] / 60:.1f} minutes "
        f"of training** ({machine}; {f'median of {seeds} seeds' if seeds > 1 else 'one seed'}; answers averaged over "
        f"the face, its mirror image and both moved by {found['shift']} pixels). {found['told']}"
    )
    more = (
        f" The {seeds} networks' answers averaged: {both['test']:.1%} and {both['test_7178']:.1%}, in "
        f"{both['seconds'] / 60:.0f} minutes for all."
    )
    return told + more * (seeds > 1)


def cluster_line() -> str:
    """What `make bench PARAMS=cluster` measured; '' while the reference has no such measurement."""
    found = section("cluster")
    if not found:
        return ""
    measured, calculated = found["measured"]["runs"], found["calculated"]
    shown = ", ".join(f"{each['workers']}: {each['seconds']:.0f} s" for each in measured)
    hours = ", ".join(
        f"{each['runs']} runs on {each['workers']}: {each['minutes']:.0f} min" for each in calculated["runs"]
    )
    return (
        f"Measured, {measured[0]['runs']} short runs by number of workers (one thread each, "
        f"{found['run']['device'].replace('cpu: ', '')}): {shown}; sending a run, reading data and keeping its result "
        f"costs {measured[0]['overhead_seconds_a_run']:.1f} s. Calculated from that for trainings of "
        f"{calculated['training_seconds_a_run'] / 60:.1f} minutes ({calculated['of']}), not measured: {hours}."
    )


def start_line() -> str:
    """What `make bench PARAMS=start` measured; '' while the reference has no such measurement."""
    found = section("start")
    if not found:
        return ""
    took = {name: seconds / 60 for name, seconds in found["seconds"].items()}
    return (
        f"In an empty folder the snippet below gave its first prediction {took['prediction']:.1f} minutes after "
        f"`git clone` began, and `make 01` its first figure after {took['figure']:.1f}; cloning and installing took "
        f"{took['installed']:.1f} of both, which depends on your line."
    )


def page_line() -> str:
    """What `make bench PARAMS=page` measured; '' while the reference has no such measurement."""
    found = section("page")
    if not found:
        return ""
    return (
        f"Measured: the page has {found['index_mb']:.1f} MB and is loaded in {found['loaded_ms']['desk']:.0f} ms, in a "
        f"phone's window {found['loaded_ms']['phone']:.0f} ms (Chromium, from disk, median of {found['visits']}, "
        f"{found['run']['device'].replace('cpu: ', '')}); {found['notebooks']} notebooks as HTML have "
        f"{found['notebooks_mb']:.1f} MB, and making all of it takes {found['make_seconds']:.0f} s."
    )


def photos_lines() -> str:
    """What notebook 10 measured of faces in whole photographs, and `make bench PARAMS=photos` of its speed."""
    path, speed, lines = paths.REFERENCE / "10_your_photos" / "metrics.json", section("photos"), []
    if path.exists():
        found = paths.read_json(path)
        frames, sure = found["framing"], found["sure"]
        upright = [case for case in frames["cases"] if not case["turn"]]
        shares = [case["found"] for case in upright]
        told = ", ".join(f"turned by {case['turn']}° {case['found']:.0%}" for case in frames["cases"] if case["turn"])
        gains = [100 * case["against_bare"]["difference"] for case in upright]
        ends = [100 * end for case in upright for end in case["against_bare"]["ci95"]]
        small = found["detected"]["100 small faces"]
        lines.append(
            f"Of {frames['faces']:,} PublicTest faces, pasted upright into photographs in {len(upright)} sizes, "
            f"{min(shares):.0%} to {max(shares):.0%} are found ({told}); cut as they were found, their accuracy is "
            f"{min(gains):+.1f} to {max(gains):+.1f} points against the bare faces (95 % intervals from "
            f"{min(ends):+.1f} to {max(ends):+.1f}). Of scikit-image's {small['faces']} small frontal "
            f"faces {small['found']} are found."
        )
        if sure:
            lines.append(
                f"Asked to be right {sure['accuracy']:.0%} of the time, it answers {sure['coverage']:.0%} of the faces "
                f'and says "not sure" of the others (chosen on val).'
            )
    if speed:
        shown = ", ".join(f"{count:g} ({size})" for size, count in speed["photographs_a_second"].items())
        lines.append(
            f"{speed['faces_a_second']:,} cut faces a second, whole photographs {shown}, a webcam's pictures, two "
            f"views each, {speed['live_a_second']:g} ({speed['model'].replace('_', ' ')}, {_machine(speed['run'])})."
        )
    if page := section("webcam"):
        lines.append(
            f"With a browser on the same machine {page['answered_a_second']:g} of a webcam's pictures are answered a "
            f"second ({page['model'].replace('_', ' ')}, {_machine(page['run'])})."
        )
    return " ".join(lines)


def claims_line() -> str:
    """What became of the claims about where the network looks, in notebook 05."""
    found = paths.read_json(paths.REFERENCE / "05_grad_cam" / "metrics.json")
    claims, seeds = found["claims"][found["model"]], found["seeds"].get("one face, two seeds")
    verdicts = [each["verdict"] for each in claims.values()]
    told = ", ".join(f"the {each['region']} for *{emotion}*: {each['verdict']}" for emotion, each in claims.items())
    better = [
        other
        for other, each in found["grad_cam_better_by"].items()
        if {one["verdict"] for one in each.values()} == {"above zero"}
    ]
    agree = f" The maps of one face from two seeds correlate by {seeds:.2f} (median)." if seeds is not None else ""
    return (
        f"**Where does it look?** Projects read from a few Grad-CAM maps that the network looks at the mouth for happy "
        f"and sad, at the eyes for surprise and fear, at the whole face for neutral. On all {found['maps']['faces']:,} "
        f"PrivateTest faces {verdicts.count('holds')} of {len(verdicts)} of these hold for the "
        f"{found['model'].replace('_', ' ')} ({told}). Its maps name the pixels that matter decidedly better than: "
        f"{'; '.join(better) or 'nothing that they were compared with'}.{agree}"
    )
