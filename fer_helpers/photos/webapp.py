"""A page for this computer alone: a webcam and an upload box, answered as they come. Needs Gradio, of the extra `demo`.

Pictures stay in memory: the answer goes to the page as text, and what Gradio writes for an upload is removed at once.
"""

import base64
import html
import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from fer_helpers import images, predict, settings
from fer_helpers.errors import UserError
from fer_helpers.faces import EMOTIONS
from fer_helpers.photos import album, detection, video

FPS = 15  # webcam frames that the page sends a second; one that comes while another is answered waits
MIN_FACE = 0.15  # of the frame's longer side: who sits before a camera is near, and four times fewer places are fast
VIEWS = 2  # of a webcam's frame: ten take four times as long for a face, and the next frame moves it anyway
CAMERA = {"width": {"ideal": 480}, "height": {"ideal": 360}, "frameRate": {"ideal": FPS}}  # more costs the browser most
DEFAULTS = {"accuracy": 0.8, "fps": 5.0}  # of the answers that are given; frames a second of a film
ABOUT = """Everything happens on this computer: no picture leaves it, none is kept. The answer is what raters would
probably call the *expression on the picture*, not what a person feels. Do not use it to judge anybody."""
REFUSED = """<p id="refused" hidden><b>The camera can't be used.</b> Allow it beside the address, close other programs
that use it, and load the page anew; or take the other tab, which needs none.</p>"""
NOTICED = """<script>
const media = navigator.mediaDevices, refused = () => { document.querySelector("#refused").hidden = false; };
if (media) {
  const ask = media.getUserMedia.bind(media);
  media.getUserMedia = (wanted) => ask(wanted).catch((error) => { refused(); throw error; });
} else { addEventListener("load", () => setTimeout(refused, 2000)); }
</script>"""  # Gradio itself says nothing of a camera that is refused


def answer_html(model, photo: images.Picture, threshold: float, *options) -> str:
    """The annotated picture and the bars of its largest face, as HTML; options: min_face and views of `recognise`."""
    faces, stream = detection.recognise(model, photo.image, *options), io.BytesIO()
    picture = album.annotated(photo.image, faces, threshold)
    picture.thumbnail((960, 960))
    picture.save(stream, "JPEG", quality=85)
    source = base64.b64encode(stream.getvalue()).decode()
    notes = f" ({html.escape(', '.join(photo.notes))})" if photo.notes else ""
    label, where, rows = "no face found", "", ""
    if faces:
        face = detection.largest(faces)
        label, where = face.label(threshold), ", the largest face" if len(faces) > 1 else ", the face"
        rows = "".join(
            f"<tr><td>{emotion}</td><td><progress value='{chance:.3f}'></progress></td><td>{chance:.0%}</td></tr>"
            for emotion, chance in zip(EMOTIONS, face.probabilities, strict=True)
        )
    shown = f"<img alt='{label}' style='max-width:100%' src='data:image/jpeg;base64,{source}'>"
    return f"<p id='answer'><b>{label}</b>{where}{notes}</p>{shown}<table>{rows}</table>"


def answer_frame(model, frame: Image.Image, threshold: float) -> str:
    """The answer to a webcam's frame, as HTML."""
    return answer_html(model, images.read(frame), threshold, MIN_FACE, VIEWS)


def answer_upload(model, path: str, threshold: float) -> str:
    """The answer to an upload, or why there is none; then every file that Gradio wrote is removed."""
    try:
        return answer_html(model, detection.read(path), threshold)
    except ValueError as error:
        return f"<p id='answer'>Not answered: {html.escape(str(error))}.</p>"
    finally:
        for file in Path(os.environ["GRADIO_TEMP_DIR"]).rglob("*"):  # Gradio makes two of an upload, of two names
            if file.is_file():
                file.unlink(missing_ok=True)


def build_page(model, threshold: float):
    """The page as Gradio's Blocks, not yet served. threshold: the probability below which the answer is "not sure"."""
    import gradio

    def answered(answer: Callable) -> Callable:
        return lambda given: "" if given is None else answer(model, given, threshold)

    one_at_a_time = {"stream_every": 1 / FPS, "time_limit": None, "concurrency_limit": 1, "show_progress": "hidden"}
    with gradio.Blocks(title="What does it say about my picture?", analytics_enabled=False) as page:
        gradio.Markdown(f"# What does it say about my picture?\n{ABOUT}")
        with gradio.Tab("Camera"), gradio.Row():
            with gradio.Column():
                options = gradio.WebcamOptions(mirror=False, constraints={"video": CAMERA})
                camera = gradio.Image(sources=["webcam"], streaming=True, type="pil", webcam_options=options)
                gradio.HTML(REFUSED)
            answer = gradio.HTML()
            camera.stream(answered(answer_frame), camera, answer, api_visibility="private", **one_at_a_time)
        with gradio.Tab("Picture"), gradio.Row():
            upload = gradio.File(label="A picture of yours", type="filepath")
            answer = gradio.HTML()
            upload.upload(answered(answer_upload), upload, answer, api_visibility="private")
    return page


def serve(model, threshold: float, *, block: bool = True, browser: bool = True):
    """Show the page on this computer's own address until it is stopped; block=False gives (page, address) at once."""
    folder = tempfile.TemporaryDirectory(prefix="fer-demo-")  # where an upload waits until it is answered
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "GRADIO_TEMP_DIR": folder.name}
    import gradio  # reads these when it is imported

    page = build_page(model, threshold)
    theme = gradio.themes.Base(font=["system-ui", "sans-serif"], font_mono=["monospace"])  # no download
    local = {"server_name": "127.0.0.1", "share": False, "ssr_mode": False}  # for nobody else in the network
    bare = {"quiet": True, "footer_links": [], "run_history": False, "enable_monitoring": False}
    options = {"inbrowser": browser, "prevent_thread_lock": True, "head": NOTICED, "theme": theme}
    _, address, _ = page.launch(**local, **bare, **options)
    print(f"The page is at {address} on this computer alone; Ctrl-C ends it.")
    page.folder = folder  # lives as long as the page
    if block:
        page.block_thread()
    return page, address


def run(command: str, options: dict[str, str], out: Path, parameters: dict[str, str]) -> None:
    """`make demo` and `make video`.

    options: MODEL, VIDEO, FORMAT, ANNOTATED, as they were typed. out: the folder of results, or the name of the table.
    parameters: as PARAMS names them.
    """
    try:
        values = DEFAULTS | {name: type(DEFAULTS[name])(value) for name, value in parameters.items()}
    except (KeyError, ValueError) as error:
        raise UserError(f'PARAMS takes numbers, like PARAMS="accuracy=0.8 fps=5", not {error}.') from None
    settings.check(values)
    form, film = options.get("FORMAT", "csv").lower(), Path(options.get("VIDEO", ""))
    if command == "video" and form not in ("csv", "json"):
        raise UserError(f"video takes FORMAT=csv or FORMAT=json, not {form}.")
    network, confidence = detection.load(options.get("MODEL") or predict.given_away(), values["accuracy"])
    print(detection.threshold_sentence(confidence))
    threshold = detection.threshold_of(confidence)
    if command == "demo":
        serve(network, threshold)
        return
    table = out if out.suffix.lower() in (".csv", ".json") else out / "videos" / f"{film.stem}.{form}"
    annotated = options.get("ANNOTATED") == "1"
    video.write_table(network, film, table, fps=values["fps"], threshold=threshold, annotated=annotated)
