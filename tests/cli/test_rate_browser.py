"""The listening test in a real browser: clips must be played before they are graded, closing loses nothing."""

import shutil

import pytest

from nexus.metrics.rating import session
from nexus.metrics.rating_store import RatingStore

CHROMIUM = (
    "--headless",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--mute-audio",
    "--window-size=420,900",
)


@pytest.fixture
def chromium(tmp_path, monkeypatch):
    """Starts Debian's chromium, each time with the profile of the time before."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("needs a browser: apt-get install chromium chromium-driver")
    from selenium import webdriver

    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in (*CHROMIUM, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(argument)
    started = []

    def start():
        started.append(webdriver.Chrome(options, webdriver.ChromeService(driver)))
        started[-1].set_script_timeout(30)
        return started[-1]

    yield start
    for one in started:
        one.quit()


PLAY_ALL = """
const done = arguments[0], players = [...document.querySelectorAll("audio, video")];
(async () => {
  for (const player of players) {
    await new Promise((ended) => { player.addEventListener("ended", ended); player.play(); });
  }
  done(players.length);
})();
"""


def test_in_a_real_browser(serve, rated, chromium):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    server = serve("mushra")
    first = chromium()
    first.get(server.address)
    first.find_element(By.ID, "name").send_keys("ann", Keys.ENTER)
    WebDriverWait(first, 30).until(lambda d: "1 of 2" in d.title)
    button = first.find_element(By.CSS_SELECTOR, "form.trial button")
    hint = first.find_element(By.ID, "hint")
    assert not button.is_enabled() and hint.text == "Still to be played to the end: 5 of 5."
    assert first.execute_async_script(PLAY_ALL) == 5
    assert not button.is_enabled() and hint.text == "Still to be moved: 4 of 4 sliders."
    for i, slider in enumerate(first.find_elements(By.CSS_SELECTOR, "input[type=range]")):
        slider.send_keys(Keys.END, Keys.ARROW_LEFT * i)
    assert [output.text for output in first.find_elements(By.TAG_NAME, "output")] == ["100", "99", "98", "97"]
    width, inner = first.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert width <= inner  # nothing hangs over at a phone's width
    button.click()
    WebDriverWait(first, 30).until(lambda d: "2 of 2" in d.title)
    assert [answer.score for answer in RatingStore(rated / "ratings.sqlite").answers()] == [100.0, 99.0, 98.0, 97.0]
    first.quit()
    second = chromium()
    second.get(server.address)
    assert "2 of 2" in second.title and "ann" in second.find_element(By.TAG_NAME, "body").text
    assert [entry for entry in second.get_log("browser") if "favicon" not in entry["message"]] == []
    assert second.execute_async_script(PLAY_ALL) == 5
    for slider in second.find_elements(By.CSS_SELECTOR, "input[type=range]"):
        slider.send_keys(Keys.ARROW_RIGHT)
    second.find_element(By.CSS_SELECTOR, "form.trial button").click()
    WebDriverWait(second, 30).until(lambda d: d.title == "Thank you")
    assert RatingStore(rated / "ratings.sqlite").done("ann") == len(session(server.test, "ann"))
