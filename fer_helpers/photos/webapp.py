"""A page for this computer alone: a webcam and an upload box, answered as they come. Needs Gradio, of the extra `demo`.

Pictures stay in memory: the answer goes to the page as text, and what Gradio writes for an upload is removed at once.
"""

import base64
import copy
import html
import io
import os
import tempfile
from pathlib import Path

from PIL import Image

from fer_helpers import predict
from fer_helpers.errors import UserError
from fer_helpers.faces import EMOTIONS
from fer_helpers.photos import album, detection, video

A_SECOND = 15  # webcam pictures that the page sends; one that comes while another is answered waits
SMALLEST = 0.15  # of the picture's longer side: who sits before a camera is near, and four times fewer places are fast
CAMERA = {"width": {"ideal": 480}, "height": {"ideal": 360}, "frameRate": {"ideal": 15}}  # more costs the browser most
ABOUT = """Everything happens on this computer: no picture leaves it, none is kept. The answer is what raters would
probably call the *expression on the picture*, not what a person feels. Do not use it to judge anybody."""
REFUSED = """<p id="refused" hidden><b>The camera can't be used.</b> Allow it beside the address, close other programs
that use it, and load the page anew; or take the other tab, which needs none.</p>"""
NOTICED = """<script>
const media = navigator.mediaDevices, told = () => { document.querySelector("#refused").hidden = false; };
if (media) {
  const ask = media.getUserMedia.bind(media);
  media.getUserMedia = (wanted) => ask(wanted).catch((error) => { told(); throw error; });
} else { addEventListener("load", () => setTimeout(told, 2000)); }
</script>"""  # Gradio itself says nothing of a camera that is refused


def shown(photo: detection.Photo, faces: list, least: float) -> str:
    """The annotated picture and a bar for each emotion of the largest face, as HTML that holds everything."""
    stream = io.BytesIO()
    picture = album.annotated(photo.picture, faces, least)
    picture.thumbnail((960, 960))
    picture.save(stream, "JPEG", quality=85)
    face = max(faces, key=lambda each: each.box.side)
    rows = "".join(
        f"<tr><td>{emotion}</td><td><progress value='{chance:.3f}'></progress></td><td>{chance:.0%}</td></tr>"
        for emotion, chance in zip(EMOTIONS, face.probabilities, strict=True)
    )
    where = "the largest face" if len(faces) > 1 else "the face" if face.found else "the centre square: no face found"
    notes = f" ({html.escape(photo.notes)})" if photo.notes else ""
    source = base64.b64encode(stream.getvalue()).decode()
    return (
        f"<p id='answer'><b>{face.label(least)}</b>, {where}{notes}</p>"
        f"<img alt='{face.label(least)}' style='max-width:100%' src='data:image/jpeg;base64,{source}'>"
        f"<table>{rows}</table>"
    )


def of_file(model, path: str, least: float) -> str:
    """What is shown of an upload, or why it can't be answered; then every file that Gradio wrote for it is removed."""
    try:
        photo = detection.opened(path)
        return shown(photo, detection.look(model, photo.picture), least)
    except ValueError as error:
        return f"<p id='answer'>Not answered: {html.escape(str(error))}.</p>"
    finally:
        for file in Path(os.environ["GRADIO_TEMP_DIR"]).rglob("*"):  # Gradio makes two of each upload
            if file.is_file():
                file.unlink(missing_ok=True)


def quick(model):
    """The same network, asked for the face and its mirror image alone, for a webcam.

    A network that is asked for ten views takes four times as long for a face; the next picture moves it anyway.
    """
    fast = copy.copy(model)  # the weights are shared
    fast.views = 2
    return fast


def page(model, least: float):
    """The page as Gradio's Blocks, not yet served. least: probability under which the answer is "not sure"."""
    import gradio

    fast = quick(model)

    def live(picture: Image.Image | None) -> str:
        if picture is None:
            return ""
        return shown(detection.Photo(picture, 1.0, ""), detection.look(fast, picture, SMALLEST), least)

    def uploaded(path: str | None) -> str:
        return "" if path is None else of_file(model, path, least)

    with gradio.Blocks(title="What does it say about my picture?", analytics_enabled=False) as made:
        gradio.Markdown(f"# What does it say about my picture?\n{ABOUT}")
        with gradio.Tab("Camera"), gradio.Row():
            with gradio.Column():
                options = gradio.WebcamOptions(mirror=False, constraints={"video": CAMERA})
                camera = gradio.Image(sources=["webcam"], streaming=True, type="pil", webcam_options=options)
                gradio.HTML(REFUSED)
            answer = gradio.HTML()
            camera.stream(
                live,
                camera,
                answer,
                stream_every=1 / A_SECOND,
                time_limit=None,
                concurrency_limit=1,
                show_progress="hidden",
                api_visibility="private",
            )
        with gradio.Tab("Picture"), gradio.Row():
            upload = gradio.File(label="A picture of yours", type="filepath")
            said = gradio.HTML()
            upload.upload(uploaded, upload, said, api_visibility="private")
    return made


def serve(model, least: float, *, block: bool = True, browser: bool = True):
    """Show the page on this computer's own address until it is stopped.

    block: False returns the page and its address at once; its `close` ends it.
    """
    folder = tempfile.TemporaryDirectory(prefix="fer-demo-")  # where an upload waits until it was answered
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "GRADIO_TEMP_DIR": folder.name}
    import gradio  # reads these when it is imported

    made = page(model, least)
    _, address, _ = made.launch(
        server_name="127.0.0.1",  # nobody else in the network
        share=False,
        inbrowser=browser,
        quiet=True,
        prevent_thread_lock=True,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        enable_monitoring=False,
        head=NOTICED,
        theme=gradio.themes.Base(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
    )
    print(f"The page is at {address} on this computer alone; Ctrl-C ends it.")
    made.folder = folder  # lives as long as the page
    if block:
        made.block_thread()
    return made, address


def answer(command: str, model: str, film: str, out: Path, asked: dict[str, str]) -> None:
    """`make demo` and `make video`. model: a file, or empty for the one that is given away. asked: what PARAMS says."""
    known = {"sure": 0.8, "a_second": 5.0}
    try:
        values = known | {name: type(known[name])(value) for name, value in asked.items()}
    except (KeyError, ValueError) as error:
        raise UserError(f'PARAMS takes numbers, like PARAMS="sure=0.8 a_second=5", not {error}.') from None
    network, sure = detection.load(model or predict.given_away(), values["sure"])
    print(detection.told(sure))
    if command == "demo":
        return serve(network, detection.least(sure))
    video.write(network, film, out, a_second=values["a_second"], least=detection.least(sure))
