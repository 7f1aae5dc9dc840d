"""The page as a reader has it: opened from disk, alone in a folder, in a real browser."""

import base64
import json
import shutil
import time
from pathlib import Path

import pytest
from tests.report.showcase import HOSTILE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")),
        reason="chromium and chromedriver are not both here",
    ),
]
PATIENCE_SECONDS = 30
VISIBLE = "return [...document.querySelectorAll('.claim')].filter(c => !c.hidden).length"
STATUS = "return document.querySelector('[role=status]').textContent"


@pytest.fixture(scope="module")
def chromium():
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage",
                     "--window-size=1280,1000", "--force-prefers-reduced-motion"):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(
        options=options, service=webdriver.ChromeService(shutil.which("chromedriver"))
    )
    yield driver
    driver.quit()


@pytest.fixture
def browser(chromium, alone):
    """Return the browser with the page open, and nothing in its logs from before."""
    for log in ("browser", "performance"):
        chromium.get_log(log)
    chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    visit(chromium, alone)
    return chromium


def until(browser, script, *arguments):
    """Wait until a script returns something true, and return that."""
    for _ in range(10 * PATIENCE_SECONDS):
        found = browser.execute_script(script, *arguments)
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"never came true: {script}")


def visit(browser, page):
    """Open a page and wait until all of it is there: ``get`` may come back while it is read."""
    browser.get(page.as_uri())
    until(browser, "return document.readyState === 'complete'")


def draw_all(browser):
    """Open every figure, go to each, and wait until its charts are there."""
    browser.execute_script(
        "for (const box of document.querySelectorAll('details.group')) box.open = true"
    )
    figures = browser.execute_script("return document.querySelectorAll('figure').length")
    for place in range(figures):
        until(
            browser,
            "const f = document.querySelectorAll('figure')[arguments[0]]; f.scrollIntoView();"
            "return [...f.querySelectorAll('.chart')].every(c => c.textContent)",
            place,
        )
    failed = (
        "return [...document.querySelectorAll('.chart:not([data-drawn])')].map(c => c.textContent)"
    )
    assert browser.execute_script(failed) == []


def open_tables(browser):
    """Open the fold with the numbers of each table."""
    browser.find_element("css selector", "details.tables > summary").click()


def marks(browser):
    """Return, by chart, how many shapes of data it shows."""
    return browser.execute_script(
        "return [...document.querySelectorAll('.chart')].map(c => [c.dataset.chart, [...c"
        ".querySelectorAll('.mark-line path, .mark-symbol path')].filter(p => p.getAttribute('d'))"
        ".length])"
    )


def requested(browser):
    """Return the addresses that the browser asked for."""
    messages = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [params["request"]["url"] for params in sent]


def keys():
    return pytest.importorskip("selenium.webdriver.common.keys").Keys


def test_page_draws_its_figures_without_an_error_or_a_request(browser, alone):
    draw_all(browser)
    drawn = marks(browser)
    kinds = {"accuracy", "best", "train_loss", "test_loss", "lr", "momentum",
             "sweep_accuracy_linear", "sweep_train_loss_linear", "ensembles"}  # fmt: skip
    assert {name for name, _ in drawn} == kinds
    assert [entry for entry in drawn if entry[1] == 0] == []
    assert browser.get_log("browser") == []
    asked = requested(browser)
    assert alone.as_uri() in asked
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert [url for url in asked if url.startswith("file:") and url != alone.as_uri()] == []


def test_figures_far_down_wait_until_a_reader_comes_to_them(browser):
    time.sleep(1)
    drawn = "return document.querySelectorAll('.chart[data-drawn]').length"
    assert browser.execute_script(drawn) == 0
    draw_all(browser)
    assert browser.execute_script(drawn) == len(marks(browser))


def test_click_in_forest_opens_its_claim(browser):
    link = browser.find_element("css selector", ".forest.wide a")
    card = "return document.querySelector(arguments[0]).querySelector('details').open"
    name = browser.execute_script("return arguments[0].getAttribute('href')", link).replace(
        ".", "\\."
    )
    assert browser.execute_script(card, name) is False
    browser.execute_script(
        "arguments[0].dispatchEvent(new MouseEvent('click', {bubbles: true}))", link
    )
    until(browser, card, name)


def test_hostile_text_is_text(browser):
    assert browser.title == "What the papers say, and what we measured"
    heading = browser.execute_script(
        "return document.querySelector('#claim-sgdr-text-hostile h5').textContent"
    )
    assert heading == HOSTILE
    labels = browser.execute_script(
        "return [...document.querySelectorAll('.controls label')].map(l => l.textContent)"
    )
    assert HOSTILE in labels
    assert browser.execute_script("return document.querySelectorAll('img').length") == 0


@pytest.mark.parametrize("escaped", [True, False], ids=["escaped", "policy alone"])
def test_no_text_runs_code(chromium, injected, tmp_path, escaped):
    """The second page has the text unescaped, so that only its content policy is in the way."""
    page = (injected / "paper/report.html").read_text()
    if not escaped:
        raw = "<script>window.injected=1</script><img src=x onerror=window.injected=1>"
        page = page.replace(
            "<main", f"{raw}<a id=raw href='javascript:window.injected=1'>a</a><main"
        )
        assert raw in page
    (tmp_path / "page.html").write_text(page)
    visit(chromium, tmp_path / "page.html")
    draw_all(chromium)
    for link in chromium.find_elements("css selector", "#raw"):
        link.click()
    assert chromium.execute_script("return window.injected") is None
    assert chromium.title != "broken"
    assert chromium.execute_script("return document.querySelectorAll('img').length") == (
        0 if escaped else 1
    )


def test_number_of_the_overview_shows_its_claims_and_a_second_click_all(browser):
    total = browser.execute_script(VISIBLE)
    assert total == 52
    open_tables(browser)
    button = browser.find_element("css selector", "tfoot button[data-verdict='one run']")
    expected = int(button.text)
    assert 0 < expected < total
    button.click()
    assert browser.execute_script(VISIBLE) == expected
    assert browser.execute_script(STATUS) == f"{expected} of {total} claims"
    assert button.get_attribute("aria-pressed") == "true"
    shown = browser.execute_script(
        "return [...document.querySelectorAll('.claim')].filter(c => c.checkVisibility())"
        ".map(c => c.querySelector('.badge').textContent)"
    )
    assert shown == ["one run"] * expected
    button.click()
    assert browser.execute_script(VISIBLE) == total
    assert button.get_attribute("aria-pressed") == "false"


def test_claims_not_run_are_folded_until_they_are_asked_for(browser):
    seen = "return [...document.querySelectorAll('.claim')].filter(c => c.checkVisibility()).length"
    assert browser.execute_script(seen) == 12
    choose = browser.find_element("css selector", ".filters select[name=verdict]")
    choose.send_keys("not run")
    assert browser.execute_script(seen) == 40


def test_filter_works_by_keyboard_alone(browser):
    press = keys()
    browser.find_element("css selector", ".filters input[type=search]").send_keys("exp_range fixed")
    assert browser.execute_script(VISIBLE) == 1
    browser.switch_to.active_element.send_keys(press.TAB, press.TAB, press.TAB)
    assert browser.switch_to.active_element.get_attribute("name") == "verdict"
    browser.switch_to.active_element.send_keys("reproduced")
    assert browser.execute_script(VISIBLE) == 0
    assert browser.execute_script(STATUS) == "0 of 52 claims"
    browser.switch_to.active_element.send_keys(press.TAB, press.TAB)
    assert browser.switch_to.active_element.text == "Show all"
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    assert browser.execute_script(outline) == "solid"
    browser.switch_to.active_element.send_keys(press.ENTER)
    until(browser, "return document.querySelector('[role=status]').textContent === '52 claims'")
    assert browser.execute_script(VISIBLE) == 52


def test_schedules_seeds_and_updates_can_be_chosen(browser):
    draw_all(browser)
    figure = browser.find_element("css selector", "figure")
    lines = (
        "return document.querySelectorAll('figure [data-chart=accuracy] .mark-line path').length"
    )
    domain = "return document.querySelector('figure [data-chart=lr]').textContent"
    before = browser.execute_script(lines)
    figure.find_element("css selector", "input[name=shown]").send_keys(keys().SPACE)
    until(browser, f"return (() => {{ {lines} }})() === arguments[0]", before - 1)
    figure.find_element("css selector", "input[name=each]").send_keys(keys().SPACE)
    until(browser, f"return (() => {{ {lines} }})() > arguments[0]", before)
    end = figure.find_element("css selector", "input[name=to]")
    assert "700" in browser.execute_script(domain)
    end.clear()
    end.send_keys("90", keys().TAB)
    until(browser, f"return !(() => {{ {domain} }})().includes('700')")


def test_dragging_chart_moves_neighbours_and_double_click_resets(browser):
    actions = pytest.importorskip("selenium.webdriver").ActionChains
    draw_all(browser)
    axes = (
        "return ['accuracy', 'lr'].map(name => [...document.querySelector(`figure [data-chart="
        "${name}] .mark-text`).querySelectorAll('text')].map(tick => tick.textContent).sort()"
        ".join())"
    )
    whole = browser.execute_script(axes)
    assert whole[0] == whole[1]
    chart = browser.find_element("css selector", "figure [data-chart=accuracy] svg")
    actions(browser).drag_and_drop_by_offset(chart, -90, 0).perform()
    moved = until(
        browser,
        f"const axes = (() => {{ {axes} }})(); return axes[0] !== arguments[0] && axes",
        whole[0],
    )
    until(browser, f"const axes = (() => {{ {axes} }})(); return axes[0] === axes[1]")
    assert moved[0] != whole[0]
    actions(browser).double_click(chart).perform()
    until(
        browser,
        f"return (() => {{ {axes} }})().every(axis => axis === arguments[0])",
        whole[0],
    )
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_nothing_reaches_beyond_a_phone(browser, alone):
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    visit(browser, alone)
    draw_all(browser)
    browser.execute_script("for (const d of document.querySelectorAll('details')) d.open = true")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    assert browser.execute_script("return innerWidth") == 390
    # the overview is read at once: the box that it may scroll in has nothing to scroll
    box = "const box = document.querySelector('.matrix').parentElement; return "
    assert browser.execute_script(box + "box.className") == "scroll"
    room = browser.execute_script(box + "box.clientWidth")
    assert browser.execute_script(box + "box.scrollWidth") <= room


def test_page_and_charts_follow_light_and_dark(browser):
    draw_all(browser)
    looks = (
        "return [document.body, document.querySelector('.chart .mark-text text'), document"
        ".querySelector('.chart .mark-line path')].map((e, i) => getComputedStyle(e)"
        "[['backgroundColor', 'fill', 'stroke'][i]])"
    )
    light = browser.execute_script(looks)
    assert light[0] == "rgb(255, 255, 255)"
    assert light[2] == "rgb(0, 0, 0)"
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
    for before, after in zip(light, browser.execute_script(looks), strict=True):
        assert after != before


def test_on_paper_everything_is_open_and_drawn(browser):
    pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert pdf.startswith(b"%PDF")
    assert browser.execute_script(
        "return [...document.querySelectorAll('.chart')].every(c => 'drawn' in c.dataset)"
    )
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    folded = "return document.querySelector('.folded .claim').getBoundingClientRect().height"
    assert browser.execute_script(folded) > 0
    filters = "return getComputedStyle(document.querySelector('.filters')).display"
    assert browser.execute_script(filters) == "none"


def test_committed_page_opens_as_well(browser, repository, tmp_path):
    page = Path(shutil.copy(repository / "paper/report.html", tmp_path / "committed.html"))
    visit(browser, page)
    draw_all(browser)
    assert [entry for entry in marks(browser) if entry[1] == 0] == []
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    diamonds = "#figure-clr-figure1 path[fill='var(--ground)']"
    assert browser.find_elements("css selector", diamonds)  # the paper's numbers
