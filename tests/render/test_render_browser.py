"""The page in a real browser without a network: it draws, follows its controls, and says so where it cannot."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from deepcrl.render import replay_html
from deepcrl.render.replay import frame_columns, pack, unpack

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
WINDOW = "480,360"

pytestmark = pytest.mark.skipif(BROWSER is None, reason=f"none of {', '.join(BROWSERS)} is installed")

WATCH = """<script>
window.problems = [];
console.error = (...words) => window.problems.push(words.join(" "));
window.addEventListener("error", (event) => window.problems.push(event.message));
window.addEventListener("unhandledrejection", (event) => window.problems.push(String(event.reason)));
document.addEventListener("securitypolicyviolation", (event) => window.problems.push(event.blockedURI));
</script>"""

PROBE = """<script>
(async () => {
  const told = {};
  const id = (name) => document.getElementById(name);
  const key = (name, shiftKey = false) => document.dispatchEvent(new KeyboardEvent("keydown", { key: name, shiftKey }));
  /** The picture right now, at half its size. */
  function shot() {
    replay.draw();
    const copy = document.createElement("canvas"), view = id("view");
    [copy.width, copy.height] = [view.width / 2, view.height / 2];
    const context = copy.getContext("2d");
    context.drawImage(view, 0, 0, copy.width, copy.height);
    return context.getImageData(0, 0, copy.width, copy.height).data;
  }
  const differ = (a, b) => a.filter((value, k) => Math.abs(value - b[k]) > 24).length;
  try {
    await replay.ready;
    replay.setPlaying(false);
    told.columns = replay.scene.episodes[0].columns.map((column) => Array.from(column));
    if (id("message").hidden) {
      replay.seek(0);
      const first = shot();
      const colours = Array.from({ length: first.length / 4 }, (_, k) => first.slice(4 * k, 4 * k + 3).join());
      told.colours = new Set(colours).size;
      told.still = differ(first, shot());
      id("scrub").value = 29;
      id("scrub").dispatchEvent(new Event("input"));
      told.scrubbed = differ(first, shot());
      const before = shot();
      replay.wanted.azimuth += 60;
      told.turned = differ(before, shot());
    }
    told.message = id("message").hidden ? "" : id("message").textContent;
    told.frames = [];
    key("Home"); told.frames.push(replay.state.frame);
    key("ArrowRight"); told.frames.push(replay.state.frame);
    key("ArrowRight", true); told.frames.push(replay.state.frame);
    told.words = id("verdict").textContent;
    told.spoken = id("scrub").getAttribute("aria-valuetext");
    key("End"); told.frames.push(replay.state.frame);
    told.away = id("verdict").textContent;
    key(" "); told.playing = [replay.state.playing, id("play").getAttribute("aria-label")];
    key(" "); told.paused = [replay.state.playing, id("play").getAttribute("aria-label")];
    key("+"); told.speed = id("speed").value;
    key("2"); told.episode = replay.state.episode;
    told.buttons = [...id("episodes").children]
      .map((button) => [button.className, button.getAttribute("aria-pressed"), button.title]);
    told.unnamed = [...document.querySelectorAll("button, input, select, canvas")]
      .filter((one) => !one.hidden && !one.getAttribute("aria-label") && !one.textContent.trim()).length;
    told.requests = performance.getEntriesByType("resource").map((entry) => entry.name);
  } catch (error) {
    window.problems.push(String(error.stack));
  }
  told.problems = window.problems;
  const report = document.createElement("script");
  report.type = "application/json";
  report.id = "told";
  report.textContent = JSON.stringify(told).replace(/</g, "\\\\u003c");
  document.body.append(report);
})();
</script>"""

NO_WEBGL = """<script>HTMLCanvasElement.prototype.getContext = () => null;</script>"""


def look(page, folder, *before):
    """What the probe found out in a browser that reaches nothing."""
    head, tail = page.split("<body>")
    path = folder / "page.html"
    watched = [head, "<body>", WATCH, *before, tail.replace("</body>", PROBE + "</body>")]
    path.write_text("".join(watched), encoding="utf-8")
    command = [
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--use-angle=swiftshader",
        "--enable-unsafe-swiftshader",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--force-prefers-reduced-motion",
        f"--window-size={WINDOW}",
        f"--user-data-dir={folder / 'profile'}",
        "--virtual-time-budget=10000",
        "--dump-dom",
        path.as_uri(),
    ]
    found = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    told = re.search(r'<script type="application/json" id="told">(.*?)</script>', found.stdout, re.S)
    assert told, found.stderr[-2000:]
    return json.loads(told.group(1))


@pytest.fixture(scope="module")
def page(model, recording):
    return replay_html(model, recording, "point")


@pytest.fixture(scope="module")
def told(page, tmp_path_factory):
    return look(page, tmp_path_factory.mktemp("browser"))


def test_no_errors_and_no_requests(told):
    assert told["problems"] == []
    assert told["requests"] == []
    assert told["message"] == ""


def test_it_reads_what_was_packed(told, model, recording):
    expected = unpack(pack(frame_columns(model, recording.episodes[0])))
    np.testing.assert_allclose(np.array(told["columns"]).T, expected, atol=1e-5)


def test_it_draws(told):
    assert told["colours"] > 100
    assert told["still"] == 0


def test_scrubbing_and_turning_change_the_picture(told):
    assert told["scrubbed"] > 40
    assert told["turned"] > 1000


def test_keys(told):
    assert told["frames"] == [0, 1, 21, 29]
    assert told["playing"] == [True, "Pause"]
    assert told["paused"] == [False, "Play"]
    assert told["speed"] == "2"
    assert told["episode"] == 1


def test_words(told):
    assert told["words"] == "At the goal"
    assert told["spoken"] == "step 21 of 30, At the goal"
    assert told["away"] == "1.80 m to goal"
    assert told["buttons"] == [
        ["reached", "false", "Episode 1: reached after 18 steps, 5 of 30 at the goal"],
        ["missed", "true", "Episode 2: goal missed; failed at step 24"],
    ]


def test_every_control_has_a_name(told):
    assert told["unnamed"] == 0


def test_without_webgl_it_says_so_and_still_shows_the_distance(page, tmp_path):
    told = look(page, tmp_path, NO_WEBGL)
    assert told["problems"] == []
    assert "no WebGL 2" in told["message"]
    assert told["frames"] == [0, 1, 21, 29]
    assert told["words"] == "At the goal"
